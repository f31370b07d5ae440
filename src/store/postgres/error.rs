//! Driver errors, formatted for operators.

use std::fmt;

use sqlx::{error::DatabaseError, postgres::PgConnectOptions};

use crate::store::StoreError;

/// A driver error, with the server's address if connecting failed.
///
/// It hides the driver's causes, which only repeat the message and cite lines of the server's source code.
#[derive(Debug)]
pub(super) struct DriverError {
    address: Option<String>,
    pub(super) error: sqlx::Error,
}

impl DriverError {
    /// Creates the error for a connection that could not be opened.
    pub(super) fn connecting(options: &PgConnectOptions, error: sqlx::Error) -> Self {
        Self { address: Some(address(options)), error }
    }

    /// Returns the server's error response, if any.
    pub(super) fn response(&self) -> Option<&dyn DatabaseError> {
        self.error.as_database_error()
    }
}

/// Returns a server's address: `HOST:PORT`, or the directory of its socket.
pub(super) fn address(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(directory) => directory.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = &self.address {
            write!(formatter, "can't connect to {address}: ")?;
        }
        match &self.error {
            sqlx::Error::Io(error) => write!(formatter, "{error}"),
            sqlx::Error::Database(response) => formatter.write_str(response.message()),
            error => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for DriverError {}

impl From<sqlx::Error> for DriverError {
    fn from(error: sqlx::Error) -> Self {
        Self { address: None, error }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DriverError::from(error).into()
    }
}

impl From<DriverError> for StoreError {
    fn from(error: DriverError) -> Self {
        // SQLSTATE class 22, "data exception", means that the server could not process a stored value.
        let is_data_exception = |code: &str| code.starts_with("22");
        match &error.error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::corrupt(error),
            sqlx::Error::Database(response) if response.code().as_deref().is_some_and(is_data_exception) => {
                Self::corrupt(error)
            }
            _ => Self::unavailable(error),
        }
    }
}
