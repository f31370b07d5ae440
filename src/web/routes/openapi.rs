//! The OpenAPI document, made from the declarations of the handlers.

use axum::{
    Extension,
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Description,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::web::respond::error::ErrorBody;

#[derive(OpenApi)]
#[openapi(
    info(title = "urlshort", description = "A URL shortener.", license(name = "MIT", identifier = "MIT")),
    tags((name = "manage", description = "For those who have a token")),
    components(schemas(ErrorBody)),
    modifiers(&Security)
)]
struct Info;

/// Adds the scheme by which tokens are sent (RFC 6750).
struct Security;

impl Modify for Security {
    fn modify(&self, description: &mut Description) {
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description.components.get_or_insert_default().add_security_scheme("token", token);
    }
}

/// The part of the document that no handler declares.
pub(crate) fn description() -> Description {
    Info::openapi()
}

/// The finished document, as JSON.
#[derive(Clone)]
pub(crate) struct Document(Bytes);

impl Document {
    pub(crate) fn new(description: &Description) -> Self {
        Self(description.to_json().expect("a description holds nothing that JSON can't").into())
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", responses((status = OK, body = Object, content_type = "application/json")))]
pub(crate) async fn document(Extension(Document(json)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], json).into_response()
}
