//! How the service logs in to the database, with a password that may change while it runs.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Deserialize;
use sqlx::{ConnectOptions, PgConnection, error::DatabaseError, postgres::PgConnectOptions};

/// Pause before a refused password is tried again, by one caller.
const RETRY: Duration = Duration::from_secs(1);

/// Connection options, and the file that holds the current password.
pub(super) struct Login {
    options: PgConnectOptions,
    password_file: Option<PathBuf>,
    last: Mutex<Attempt>,
}

/// The content of the file when it was read last, and when the server refused it.
#[derive(Default)]
struct Attempt {
    text: Option<String>,
    refused: Option<Instant>,
}

/// A database secret of AWS Secrets Manager, which has other fields as well.
#[derive(Deserialize)]
struct Secret {
    password: String,
}

impl Login {
    pub(super) fn new(options: PgConnectOptions, password_file: Option<PathBuf>) -> Self {
        Self { options, password_file, last: Mutex::default() }
    }

    /// Returns the options with the password that the file has now.
    ///
    /// A missing file is no error: the service may start before the file is written, with `PGPASSWORD`.
    pub(super) fn options(&self) -> PgConnectOptions {
        let text = self.read();
        let options = match &text {
            Some(text) => self.options.clone().password(&password(text)),
            None => self.options.clone(),
        };
        let mut last = self.last.lock();
        // The same password is as good as it was.
        if last.text != text {
            *last = Attempt { text, refused: None };
        }
        options
    }

    /// Takes note of an error, and returns whether it may go away once the file has another password.
    pub(super) fn may_recover_from(&self, error: &sqlx::Error) -> bool {
        const INVALID_PASSWORD: &str = "28P01";
        let code = error.as_database_error().and_then(DatabaseError::code);
        let is_refused = self.password_file.is_some() && code.is_some_and(|code| code == INVALID_PASSWORD);
        if is_refused {
            self.last.lock().refused = Some(Instant::now());
        }
        is_refused
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let connection = self.options().connect().await?;
        self.last.lock().refused = None;
        Ok(connection)
    }

    /// Returns whether another attempt would be refused as well, because the file still has the same password. Now and
    /// then one caller may try all the same: a log-in costs too much for all to do so.
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
            .inspect_err(|error| tracing::debug!(%error, path = %path.display(), "no password file"))
            .ok()
    }
}

/// Returns the password in a file: the field `password` of a JSON object, or the whole text without its line end.
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
    fn a_file_has_the_password_alone_or_a_secret() {
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
