//! Password hashing for links, with Argon2id and limited concurrency.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use argon2::{
    Argon2, Params,
    password_hash::{PasswordHasher, PasswordVerifier, SaltString},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use thiserror::Error;

use crate::{
    gate::{Gate, WorkError},
    link::options::PasswordHash,
};

/// The maximum number of passwords hashed or verified concurrently.
///
/// Each computation uses one core and 19 MiB of memory. Verifying an imported hash can use up to [`MAX_MEMORY`].
const AT_A_TIME: usize = 2;

/// The maximum number of passwords in the queue. With a longer queue, requests would time out.
const WAITING: usize = 500;

/// The maximum memory cost for an imported hash, in KiB.
///
/// RFC 9106 recommends this value for memory-constrained environments.
const MAX_MEMORY: u32 = 64 << 10;

/// The maximum number of passes for an imported hash.
const MAX_PASSES: u32 = 10;

/// The maximum number of lanes for an imported hash.
const MAX_LANES: u32 = 16;

/// The allowed output lengths for an imported hash, in bytes. A shorter output would make collisions more likely.
const OUTPUT_LENGTHS: RangeInclusive<usize> = 16..=64;

/// The allowed salt lengths for an imported hash, in bytes.
const SALT_LENGTHS: RangeInclusive<usize> = 8..=48;

/// A plain-text password of 1 to 128 bytes. `Debug` redacts it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

/// The error for an invalid password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a password is 1 to {} bytes", Password::MAX_LEN)]
pub struct InvalidPassword;

/// The error for a password that could not be hashed or checked.
#[derive(Debug, Error)]
pub enum HashError {
    /// The queue is full.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// Memory or randomness is unavailable, or the stored hash is damaged.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

impl Password {
    /// The maximum length, in bytes.
    pub(crate) const MAX_LEN: usize = 128;
}

impl FromStr for Password {
    type Err = InvalidPassword;

    fn from_str(text: &str) -> Result<Self, InvalidPassword> {
        if (1..=Self::MAX_LEN).contains(&text.len()) { Ok(Self(text.into())) } else { Err(InvalidPassword) }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A password hasher that does not block the request threads.
///
/// It uses Argon2id with 19 MiB of memory, two passes and one lane, as recommended by
/// [OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html).
#[derive(Debug)]
pub struct Passwords {
    gate: Gate,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { gate: Gate::new(AT_A_TIME, WAITING) }
    }
}

impl Passwords {
    /// Hashes a password with a new random salt.
    ///
    /// # Errors
    /// [`HashError`] if the queue is full, or if memory or randomness is unavailable.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, HashError> {
        self.work(move || {
            let mut salt = [0; 16];
            StdRng::try_from_rng(&mut rand::rngs::SysRng).map_err(HashError::failed)?.fill_bytes(&mut salt);
            let salt = SaltString::encode_b64(&salt).map_err(HashError::failed)?;
            let hash = Argon2::default().hash_password(password.0.as_bytes(), &salt);
            Ok(PasswordHash::from_phc(hash.map_err(HashError::failed)?.to_string()))
        })
        .await
    }

    /// Returns whether `password` matches `hash`.
    ///
    /// # Errors
    /// [`HashError`] if the queue is full, memory is unavailable, or `hash` is damaged.
    pub async fn verify(&self, hash: PasswordHash, password: Password) -> Result<bool, HashError> {
        self.work(move || {
            let hash = argon2::PasswordHash::new(hash.as_phc()).map_err(HashError::failed)?;
            match Argon2::default().verify_password(password.0.as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(HashError::failed(error)),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        self.gate.run(work).await.map_err(|error| match error {
            WorkError::Full(_) => HashError::Busy,
            WorkError::Panic(panic) => HashError::failed(panic),
        })?
    }
}

/// Validates a hash that was computed by another program.
///
/// Returns `None` unless the hash uses Argon2id and is within the limits on cost and length.
pub fn imported(phc: String) -> Option<PasswordHash> {
    let hash = argon2::PasswordHash::new(&phc).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let mut salt = [0; argon2::password_hash::Salt::MAX_LENGTH];
    let salt = hash.salt?.decode_b64(&mut salt).ok()?;
    let is_cheap =
        params.m_cost() <= MAX_MEMORY && params.t_cost() <= MAX_PASSES && params.p_cost() <= MAX_LANES;
    let is_plain = params.keyid().is_empty() && params.data().is_empty();
    let has_length = OUTPUT_LENGTHS.contains(&hash.hash?.len()) && SALT_LENGTHS.contains(&salt.len());
    let is_good = hash.algorithm == argon2::ARGON2ID_IDENT && is_cheap && is_plain && has_length;
    is_good.then(|| PasswordHash::from_phc(phc))
}

impl HashError {
    fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_verifies_only_its_password() {
        let passwords = Passwords::default();
        let password: Password = "correct horse".parse().unwrap();
        let hash = passwords.hash(password.clone()).await.unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
        assert_ne!(passwords.hash(password.clone()).await.unwrap(), hash, "each hash has its own salt");
        assert!(passwords.verify(hash.clone(), password).await.unwrap());
        assert!(!passwords.verify(hash, "battery staple".parse().unwrap()).await.unwrap());
        let damaged = PasswordHash::from_phc("nonsense");
        assert!(passwords.verify(damaged, "x".parse().unwrap()).await.is_err());
    }

    #[test]
    fn an_imported_hash_is_accepted_if_verifying_it_is_cheap() {
        let phc = |parameters: &str, salt: &str, length: usize| {
            format!("$argon2id$v=19${parameters}${salt}${}", "A".repeat((length * 4).div_ceil(3)))
        };
        let salt = "c29tZSBzYWx0";
        for good in ["m=19456,t=2,p=1", "m=65536,t=3,p=4", "m=8,t=10,p=1"] {
            assert!(imported(phc(good, salt, 32)).is_some(), "{good}");
        }
        for bad in [
            "m=65537,t=2,p=1",
            "m=4294967295,t=1,p=1",
            "m=19456,t=11,p=1",
            "m=19456,t=2,p=17",
            "m=19456,t=2,p=1,keyid=AAAA",
            "m=19456,t=2,p=1,data=AAAA",
        ] {
            assert!(imported(phc(bad, salt, 32)).is_none(), "{bad}");
        }
        for (salt, length) in [(salt, 15), ("AAAA", 32)] {
            assert!(imported(phc("m=19456,t=2,p=1", salt, length)).is_none(), "{salt} {length}");
        }
        let other = phc("m=19456,t=2,p=1", salt, 32).replace("argon2id", "argon2i");
        assert!(imported(other).is_none() && imported("$argon2id$v=19$".into()).is_none());
    }

    #[test]
    fn a_password_is_bounded_and_redacted() {
        assert_eq!("".parse::<Password>(), Err(InvalidPassword));
        assert_eq!("x".repeat(129).parse::<Password>(), Err(InvalidPassword));
        assert_eq!(format!("{:?}", "secret".parse::<Password>()), "Ok([redacted])");
    }
}
