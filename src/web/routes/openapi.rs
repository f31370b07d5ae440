//! The OpenAPI document, generated from the handlers' declarations.

use axum::{
    Extension,
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
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
    tags((name = "manage", description = "For clients with a token")),
    components(schemas(ErrorBody)),
    modifiers(&Security)
)]
struct Info;

/// A modifier that adds the bearer token scheme (RFC 6750).
struct Security;

impl Modify for Security {
    fn modify(&self, description: &mut Description) {
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description.components.get_or_insert_default().add_security_scheme("token", token);
    }
}

/// Returns the parts of the document that don't belong to a route.
pub(crate) fn description() -> Description {
    Info::openapi()
}

/// The finished document, as JSON.
#[derive(Clone)]
pub(crate) struct Document(Bytes);

impl Document {
    pub(crate) fn new(description: &Description) -> Self {
        const VALID: &str = "a description is valid JSON";
        let mut document = serde_json::to_value(description).expect(VALID);
        document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|path| {
            path.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(refuse_null);
        });
        Self(serde_json::to_vec(&document).expect(VALID).into())
    }
}

/// Removes null from the schema of an optional request body.
///
/// Such a body can be omitted but must not be `null`. `utoipa` describes it as nullable because its type is an
/// `Option`.
fn refuse_null(operation: &mut Value) {
    let content = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
    for schema in content.into_iter().flat_map(Map::values_mut).map(|media| &mut media["schema"]) {
        if let Some([body, null]) = schema["oneOf"].as_array().map(Vec::as_slice)
            && null["type"] == "null"
        {
            *schema = body.clone();
        }
    }
}

/// Return this document
#[utoipa::path(get, path = "/openapi.json", responses((status = OK, body = Object, content_type = "application/json")))]
pub(crate) async fn document(Extension(Document(json)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], json).into_response()
}
