//! `POST /{key}`: follows a short link that needs a password.

use axum::{
    extract::{FromRequest, RawQuery, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    shortener::{FollowError, Follower},
    web::{
        extract::{body::Payload, client::ClientIp, link_key::LinkKey, visitor::visitor},
        middleware::password_attempts::Attempt,
        respond::{
            error::{ApiError, ErrorBody, ErrorResponses},
            fallback::redirect_to,
        },
        routes::redirect::{FollowErrors, NO_STORE, base_url_for_fallback, location},
        state::AppState,
    },
};

/// A password attempt.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unlock {
    /// Password of the link.
    #[schema(format = Password)]
    password: String,
}

/// Follow a short link that needs a password
///
/// The password is sent in the body, so that it doesn't appear in logs or in the browser history. A client that enters
/// too many wrong passwords for one link must wait. Correct passwords don't count towards this limit.
#[utoipa::path(
    post,
    path = "/{key}",
    params(LinkKey),
    request_body(content((Unlock = "application/x-www-form-urlencoded"), (Unlock = "application/json"))),
    responses(
        (status = SEE_OTHER, description = "Redirect to the target", headers(("Location" = String, description = "The target"))),
        FollowErrors,
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", body = ErrorBody),
        ErrorResponses,
    ),
)]
pub(crate) async fn unlock(
    State(state): State<AppState>,
    client: ClientIp,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    LinkKey { key }: LinkKey,
    request: Request,
) -> Result<Response, ApiError> {
    let AppState { shortener, attempts, .. } = &state;
    let (mut parts, body) = request.into_parts();
    let base_url = base_url_for_fallback(&mut parts, &state).await;
    let refuse = |error| {
        let fallback = shortener.refuse(error, base_url.as_ref())?;
        Ok(redirect_to(StatusCode::SEE_OTHER, &fallback))
    };
    // Don't read the body if the link can't be followed or the client has to wait.
    let has_password = match shortener.find(&key).await {
        Ok(link) => link.doc.options.password.is_some(),
        Err(error) => return refuse(error),
    };
    if has_password {
        attempts.check(client, &key)?;
    }
    let Payload(Unlock { password }) =
        Payload::from_request(Request::from_parts(parts, body), &state).await?;
    let password = password.parse().map_err(|_| ApiError::WrongPassword)?;
    let attempt = if has_password { Some(attempts.begin(client, &key).await?) } else { None };
    let follower = || Follower::Visitor(visitor(&headers));
    let followed = shortener.follow(&key, follower, Some(password)).await;
    match &followed {
        Ok(_) => attempt.map(Attempt::succeed),
        // `begin` has already counted this failure.
        Err(FollowError::WrongPassword) => None,
        Err(_) => attempt.map(Attempt::forgive),
    };
    let link = match followed {
        Ok(link) => link,
        Err(error) => return refuse(error),
    };
    let location = location(&link, query.as_deref())?;
    // Don't use the link's own status: 307 and 308 would resend the password to the target.
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, NO_STORE)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
