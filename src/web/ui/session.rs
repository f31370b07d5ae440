//! Sessions of the web UI, each kept in a signed cookie.
//!
//! The cookie has the form `name.expiry.HMAC` and names the token that the user signed in with. The HMAC key combines
//! the store's secret with the token's digest. All instances therefore accept the cookie, the token file alone isn't
//! enough to forge it, and the cookie becomes invalid when the token is removed or replaced. Otherwise, a session lasts
//! until its expiry, because signing out only deletes the cookie from the browser.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use tokio::sync::OnceCell;
use url::form_urlencoded;

use super::frame::User;
use crate::{
    link::Creator,
    links::Links,
    store::{Secret, StoreError},
    tokens::{Token, Tokens},
    web::{
        extract::{service_url::ServiceUrl, token::Author},
        respond::error::ApiError,
        state::AppState,
    },
};

/// The maximum duration of a session. Activity does not extend it.
const LIFETIME: Duration = Duration::from_hours(12);

/// The name of the cookie over HTTPS.
///
/// Because of the `__Host-` prefix, browsers refuse this cookie from another host or without TLS.
const SECURE_NAME: &str = "__Host-urlshort";

/// The name of the cookie without HTTPS.
const NAME: &str = "urlshort";

/// The secret that signs sessions, read from the store once.
pub struct Sessions {
    secret: OnceCell<Secret>,
    /// A random secret, which is stored if the store doesn't have a secret yet.
    proposed: Secret,
}

impl Sessions {
    /// Creates an instance. `proposed` must be random.
    pub(crate) fn new(proposed: Secret) -> Self {
        Self { secret: OnceCell::new(), proposed }
    }

    async fn secret(&self, links: &Links) -> Result<&Secret, StoreError> {
        self.secret.get_or_try_init(|| links.secret(self.proposed)).await
    }

    /// Returns the cookie and the expiry of a new session.
    pub(crate) async fn begin(
        &self,
        links: &Links,
        token: &Token,
        now: Timestamp,
    ) -> Result<(String, Timestamp), StoreError> {
        let end = now.saturating_add(LIFETIME).unwrap_or(now);
        let end = token.expires_at.map_or(end, |expiry| expiry.min(end)).as_second();
        let name: String = form_urlencoded::byte_serialize(token.name.as_str().as_bytes()).collect();
        let signed = format!("{name}.{end}");
        let mac = mac(self.secret(links).await?, token, &signed).finalize().into_bytes();
        let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((format!("{signed}.{mac}"), Timestamp::from_second(end).unwrap_or(now)))
    }

    /// Returns the token named in a valid, unexpired `cookie`.
    async fn token<'a>(
        &self,
        links: &Links,
        tokens: &'a Tokens,
        cookie: &str,
        now: Timestamp,
    ) -> Result<Option<&'a Token>, StoreError> {
        let Some((signed, signature, end)) = parse(cookie) else { return Ok(None) };
        let name = signed.rsplit_once('.').map_or("", |(name, _)| name);
        let name = form_urlencoded::parse(name.as_bytes()).next().map(|(name, _)| name);
        let Some(token) = name.and_then(|name| tokens.named(&name, now)) else { return Ok(None) };
        let secret = self.secret(links).await?;
        // `verify_slice` compares in constant time.
        let is_signed = mac(secret, token, signed).verify_slice(&signature).is_ok();
        Ok((is_signed && now.as_second() < end).then_some(token))
    }
}

/// Parses a cookie into its signed part, signature and expiry.
///
/// The expiry is in seconds since the Unix epoch.
fn parse(cookie: &str) -> Option<(&str, Vec<u8>, i64)> {
    let (signed, signature) = cookie.rsplit_once('.')?;
    let end = signed.rsplit_once('.')?.1.parse().ok()?;
    let digits: Option<Vec<_>> = signature.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    let bytes = digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]));
    Some((signed, bytes.collect::<Result<_, _>>().ok()?, end))
}

fn mac(secret: &Secret, token: &Token, signed: &str) -> Hmac<Sha256> {
    let key = [secret.0, token.digest].concat();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("an HMAC takes keys of any length");
    mac.update(b"session\0");
    mac.update(signed.as_bytes());
    mac
}

/// Returns the user who sent the request, if they are signed in.
///
/// # Errors
/// The store's error, if the secret for checking the cookie can't be read.
pub(crate) async fn user(parts: &mut Parts, state: &AppState) -> Result<Option<User>, StoreError> {
    let name = cookie_name(parts, state).await;
    let Some(cookie) = cookie(&parts.headers, name) else { return Ok(None) };
    let tokens = state.tokens();
    let token = state.sessions.token(&state.links, &tokens, cookie, state.shortener.clock.now()).await?;
    Ok(token.map(|token| User { name: token.name.clone(), scope: token.scope }))
}

async fn cookie_name(parts: &mut Parts, state: &AppState) -> &'static str {
    let url = ServiceUrl::from_request_parts(parts, state).await;
    if url.is_ok_and(|ServiceUrl(base_url)| base_url.is_https()) { SECURE_NAME } else { NAME }
}

/// Returns the value of the first cookie with this name.
///
/// Browsers send the most specific cookie first (RFC 6265, section 5.4).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(found, value)| (found == name).then_some(value))
}

/// Returns the `Set-Cookie` header for a session.
///
/// A lifetime of zero `seconds` deletes the cookie.
pub(crate) fn set_cookie(is_https: bool, value: &str, seconds: i64) -> HeaderValue {
    let (name, secure) = if is_https { (SECURE_NAME, "; Secure") } else { (NAME, "") };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).expect("the name of a token is encoded")
}

/// A signed-in user. Anyone else is redirected to the sign-in page.
pub(crate) struct Reader(pub(crate) User);

/// A signed-in user who may change links.
pub(crate) struct Writer(pub(crate) Author);

/// A user who may create a link, within their rate limit.
pub(crate) struct LinkAuthor(pub(crate) Author);

impl FromRequestParts<AppState> for Reader {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        match user(parts, state).await {
            Ok(Some(user)) => Ok(Self(user)),
            Ok(None) => Err(redirect_to_sign_in(parts, state).await),
            Err(error) => Err(ApiError::Store(error).into_response()),
        }
    }
}

impl FromRequestParts<AppState> for Writer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let Reader(user) = Reader::from_request_parts(parts, state).await?;
        if !user.may_write() {
            return Err(ApiError::Forbidden.into_response());
        }
        Ok(Self(Author::new(user.name, parts)))
    }
}

impl FromRequestParts<AppState> for LinkAuthor {
    type Rejection = Response;

    /// Authorizes the creation of a link.
    ///
    /// If anyone may create links, a user without write access creates them as `public`.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let author = if state.config.access.public_shorten {
            let user = user(parts, state).await.map_err(|error| ApiError::Store(error).into_response())?;
            Author::new(user.filter(User::may_write).map_or(Creator::PUBLIC, |user| user.name), parts)
        } else {
            let Writer(author) = Writer::from_request_parts(parts, state).await?;
            author
        };
        state.create_limits.admit(&author, 1).map_err(IntoResponse::into_response)?;
        Ok(Self(author))
    }
}

/// Redirects to the sign-in page, which redirects back after signing in.
async fn redirect_to_sign_in(parts: &mut Parts, state: &AppState) -> Response {
    let root = match ServiceUrl::from_request_parts(parts, state).await {
        Ok(ServiceUrl(base_url)) => base_url.path().to_owned(),
        Err(error) => return error.into_response(),
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let next: String = match parts.method.is_safe() {
        true => form_urlencoded::byte_serialize(format!("{root}{}", &path[1..]).as_bytes()).collect(),
        false => String::new(),
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, format!("{root}ui/sign-in?next={next}"))]).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{observability::metrics::Metrics, store::memory::MemoryStore, tokens::Scope};

    fn links() -> Links {
        let cache =
            crate::config::CacheOptions { cache_bytes: bytesize::ByteSize(0), cache_ttl: Duration::ZERO };
        Links::new(Arc::new(MemoryStore::default()), Duration::from_secs(10), cache, Arc::new(Metrics::new()))
    }

    #[tokio::test]
    async fn a_cookie_is_valid_until_it_expires_or_its_token_changes() {
        let (links, sessions) = (links(), Sessions::new(Secret([7; 32])));
        let tokens: Tokens = "a.b;c%:0123456789abcdef,other:0123456789abcdee".parse().unwrap();
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let token = tokens.named("a.b;c%", now).unwrap();
        let (cookie, end) = sessions.begin(&links, token, now).await.unwrap();
        assert_eq!(end, now + LIFETIME);
        assert!(set_cookie(true, &cookie, 1).to_str().is_ok_and(|text| text.matches(';').count() == 5));
        let name_at = async |cookie: &str, tokens: &Tokens, now| {
            sessions.token(&links, tokens, cookie, now).await.unwrap().map(|token| token.name.to_string())
        };
        assert_eq!(name_at(&cookie, &tokens, now).await.as_deref(), Some("a.b;c%"));
        assert!(name_at(&cookie, &tokens, end).await.is_none(), "it has expired");
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(name_at(&changed, &tokens, now).await.is_none(), "{changed}");
        }
        for text in ["", ".", "..", "a.1.", &cookie[..cookie.len() - 2], &format!("{cookie}00")] {
            assert!(name_at(text, &tokens, now).await.is_none(), "{text}");
        }
        let replaced: Tokens = "a.b;c%:another-token-of-that-name".parse().unwrap();
        assert!(name_at(&cookie, &replaced, now).await.is_none(), "the token was replaced");
        assert_eq!(tokens.named("other", now).unwrap().scope, Scope::Write);
    }
}
