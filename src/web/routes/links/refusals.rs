//! What every route of the management API may refuse, declared once for the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{Content, Ref, RefOr, Response, ResponseBuilder},
};

/// Refusals of whoever reads.
pub(crate) struct ReadRefusals;

/// Refusals of whoever changes a link that stands.
pub(crate) struct ChangeRefusals;

/// Refusals of whoever sends a body.
pub(crate) struct BodyRefusals;

impl IntoResponses for ReadRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[("401", "`unauthorized`"), ("503", "`store_unavailable` or `overloaded`")])
    }
}

impl IntoResponses for ChangeRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = ReadRefusals::responses();
        all.extend(refusals(&[
            ("403", "`forbidden` or `target_refused`"),
            ("404", "`not_found`"),
            ("412", "`precondition_failed`"),
        ]));
        all
    }
}

impl IntoResponses for BodyRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = ReadRefusals::responses();
        all.extend(refusals(&[
            ("400", "`invalid_url`, `invalid_key`, `invalid_option`, `invalid_body`, `invalid_host` or `invalid_idempotency_key`"),
            ("403", "`forbidden` or `target_refused`"),
            ("413", "`body_too_large`"),
            ("415", "`unsupported_media_type`"),
        ]));
        all
    }
}

fn refusals(list: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let body = || Content::new(Some(Ref::from_schema_name("ErrorBody")));
    let refusal = |(status, description): &(&str, &str)| {
        let response = ResponseBuilder::new().description(*description).content("application/json", body());
        ((*status).to_owned(), RefOr::T(response.build()))
    };
    list.iter().map(refusal).collect()
}
