//! Database login with a password that may be rotated at runtime.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Deserialize;
use sqlx::{ConnectOptions, PgConnection, error::DatabaseError, postgres::PgConnectOptions};

use super::error::DriverError;

/// The interval at which one caller retries a refused password.
const RETRY: Duration = Duration::from_secs(1);

/// Connection options, with a file for the current password.
pub(super) struct Login {
    options: PgConnectOptions,
    password_file: Option<PathBuf>,
    last: Mutex<Attempt>,
}

/// The text last read from the password file.
///
/// `refused` is the time when the server last refused the password, if it did.
#[derive(Default)]
struct Attempt {
    text: Option<String>,
    refused: Option<Instant>,
}

/// A database secret from AWS Secrets Manager. Its other fields are ignored.
#[derive(Deserialize)]
struct Secret {
    password: String,
}

impl Login {
    pub(super) fn new(options: PgConnectOptions, password_file: Option<PathBuf>) -> Self {
        Self { options, password_file, last: Mutex::default() }
    }

    /// Returns the options with the current password from the file.
    ///
    /// A missing file is not an error: the service may start with `PGPASSWORD` before the file is written.
    pub(super) fn options(&self) -> PgConnectOptions {
        let text = self.read();
        let options = match &text {
            Some(text) => self.options.clone().password(&password(text)),
            None => self.options.clone(),
        };
        let mut last = self.last.lock();
        // Forget the refusal only if the password has changed.
        if last.text != text {
            *last = Attempt { text, refused: None };
        }
        options
    }

    /// Records a refused password, and returns whether a new password may help.
    pub(super) fn may_recover_from(&self, error: &DriverError) -> bool {
        const INVALID_PASSWORD: &str = "28P01";
        let code = error.response().and_then(DatabaseError::code);
        let is_refused = self.password_file.is_some() && code.is_some_and(|code| code == INVALID_PASSWORD);
        if is_refused {
            self.last.lock().refused = Some(Instant::now());
        }
        is_refused
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, DriverError> {
        let options = self.options();
        let connection = options.connect().await.map_err(|error| DriverError::connecting(&options, error))?;
        self.last.lock().refused = None;
        Ok(connection)
    }

    /// Returns whether the file still contains the refused password.
    ///
    /// Once per [`RETRY`], it returns false anyway, so that one caller tries the password again. Logins are too
    /// expensive for every caller to try.
    pub(super) fn is_refused(&self) -> bool {
        let mut last = self.last.lock();
        let Some(refused) = last.refused else { return false };
        if last.text != self.read() {
            return false;
        }
        let is_recent = refused.elapsed() < RETRY;
        if !is_recent {
            last.refused = Some(Instant::now());
        }
        is_recent
    }

    fn read(&self) -> Option<String> {
        let path = self.password_file.as_ref()?;
        fs::read_to_string(path)
            .inspect_err(
                |error| tracing::debug!(%error, path = %path.display(), "can't read the password file"),
            )
            .ok()
    }
}

/// Returns the password in the text of a password file.
///
/// If the text is a JSON object with a `password` field, that field contains the password. Otherwise, the password is
/// the whole text without its line ending.
fn password(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Secret { password }) => password,
        Err(_) => text.trim_end_matches(['\r', '\n']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_plain_password_or_a_json_secret() {
        for (text, expected) in [
            ("correct horse", "correct horse"),
            ("with a line end\n", "with a line end"),
            ("spaces stay \r\n", "spaces stay "),
            (r#"{"username":"urlshort","password":"a\"b\\c\u003d{:"}"#, r#"a"b\c={:"#),
            ("{not json", "{not json"),
            (r#"{"other":"field"}"#, r#"{"other":"field"}"#),
            ("12345678", "12345678"),
        ] {
            assert_eq!(password(text), expected, "{text}");
        }
    }
}
