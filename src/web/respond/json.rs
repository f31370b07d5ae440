//! JSON answers that end with a line feed, so that a terminal's prompt comes on a line of its own.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::web::respond::error::ApiError;

/// An answer with `T` as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => ApiError::Internal(error.into()).into_response(),
        }
    }
}
