//! Passwords of links: hashed with Argon2id, a few at a time.

use std::{fmt, str::FromStr, sync::Arc};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, SaltString},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::link::options::PasswordHash;

/// Hashes that are worked out at a time: each takes 19 MiB and a core.
const AT_A_TIME: usize = 2;

/// A password as a person typed it: 1 to 128 bytes. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

/// A string is not a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a password is 1 to {} bytes", Password::MAX_LEN)]
pub struct InvalidPassword;

/// No hash came out.
#[derive(Debug, Error)]
#[error("the password could not be hashed: {0}")]
pub struct HashError(String);

impl Password {
    /// The longest password, in bytes.
    pub const MAX_LEN: usize = 128;
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

/// Hashes and checks passwords beside the requests, with Argon2id as
/// [OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html) advises: 19 MiB, two
/// passes, one lane.
#[derive(Debug)]
pub struct Passwords {
    slots: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Passwords {
    /// The hash of `password` with a salt of its own.
    ///
    /// # Errors
    /// [`HashError`] where there is no memory or no randomness for it.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, HashError> {
        self.work(move || {
            let mut salt = [0; 16];
            StdRng::try_from_rng(&mut rand::rngs::SysRng).map_err(HashError::new)?.fill_bytes(&mut salt);
            let salt = SaltString::encode_b64(&salt).map_err(HashError::new)?;
            let hash = Argon2::default().hash_password(password.0.as_bytes(), &salt);
            Ok(PasswordHash::from_phc(hash.map_err(HashError::new)?.to_string()))
        })
        .await
    }

    /// Whether `password` is the one behind `hash`.
    ///
    /// # Errors
    /// [`HashError`] where there is no memory for it, or `hash` is damaged.
    pub async fn verify(&self, hash: PasswordHash, password: Password) -> Result<bool, HashError> {
        self.work(move || {
            let hash = argon2::PasswordHash::new(hash.as_phc()).map_err(HashError::new)?;
            match Argon2::default().verify_password(password.0.as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(HashError::new(error)),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let slot = self.slots.clone().acquire_owned().await.map_err(HashError::new)?;
        let task = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also where nobody waits for it any more.
            let _slot = slot;
            work()
        });
        task.await.map_err(HashError::new)?
    }
}

impl HashError {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let passwords = Passwords::default();
        let password: Password = "correct horse".parse().unwrap();
        let hash = passwords.hash(password.clone()).await.unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
        assert_ne!(passwords.hash(password.clone()).await.unwrap(), hash, "each has a salt of its own");
        assert!(passwords.verify(hash.clone(), password).await.unwrap());
        assert!(!passwords.verify(hash, "battery staple".parse().unwrap()).await.unwrap());
        let damaged = PasswordHash::from_phc("nonsense");
        assert!(passwords.verify(damaged, "x".parse().unwrap()).await.is_err());
    }

    #[test]
    fn a_password_is_bounded_and_hides_itself() {
        assert_eq!("".parse::<Password>(), Err(InvalidPassword));
        assert_eq!("x".repeat(129).parse::<Password>(), Err(InvalidPassword));
        assert_eq!(format!("{:?}", "secret".parse::<Password>()), "Ok([redacted])");
    }
}
