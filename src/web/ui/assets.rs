//! Styles, scripts and icons, embedded in the program.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderName, header},
    response::IntoResponse,
};
use sha2::{Digest, Sha256};

use crate::web::respond::error::{ApiError, ErrorResponses};

/// The path of the assets, relative to the service's root.
const DIRECTORY: &str = "ui/assets/";

/// A file whose path contains a hash of its content.
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    body: &'static [u8],
    /// The path, relative to the service's root.
    pub(crate) path: String,
}

pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("style", "css", "text/css; charset=utf-8", include_bytes!("assets/style.css"))
});

pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("script", "js", "text/javascript; charset=utf-8", include_bytes!("assets/script.js"))
});

pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("assets/icon.svg")));

impl Asset {
    fn new(
        stem: &'static str,
        extension: &'static str,
        media_type: &'static str,
        body: &'static [u8],
    ) -> Self {
        let hash: String = Sha256::digest(body).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { stem, extension, media_type, body, path: format!("{DIRECTORY}{stem}.{hash}.{extension}") }
    }

    /// Returns whether `name` refers to this asset, ignoring the hash.
    fn is_named(&self, name: &str) -> bool {
        let mut parts = name.split('.');
        parts.next() == Some(self.stem) && parts.nth(1) == Some(self.extension) && parts.next().is_none()
    }
}

/// `GET /ui/assets/{name}`: returns an asset.
///
/// During a deployment, a page from another instance can refer to another version of the asset. Sending this instance's
/// version is better than a 404, but the response must not be cached.
pub(crate) async fn show(Path(name): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let asset = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.is_named(&name));
    let asset = asset.ok_or(ApiError::NotFound)?;
    let is_current = asset.path.strip_prefix(DIRECTORY) == Some(&*name);
    let lifetime = if is_current { "public, max-age=31536000, immutable" } else { "no-store" };
    Ok((headers(asset.media_type, lifetime), asset.body))
}

/// Return the rules for crawlers
#[utoipa::path(get, path = "/robots.txt", responses((status = OK, body = String, content_type = "text/plain"), ErrorResponses))]
pub(crate) async fn robots() -> impl IntoResponse {
    let rules = "User-agent: *\nDisallow: /ui/\nDisallow: /api/\n";
    (headers("text/plain; charset=utf-8", "public, max-age=86400"), rules)
}

/// Return the site icon
#[utoipa::path(get, path = "/favicon.ico", responses((status = OK, body = Vec<u8>, content_type = "image/x-icon"), ErrorResponses))]
pub(crate) async fn favicon() -> impl IntoResponse {
    (headers("image/x-icon", "public, max-age=86400"), include_bytes!("assets/favicon.ico"))
}

fn headers(media_type: &'static str, lifetime: &'static str) -> [(HeaderName, &'static str); 2] {
    [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, lifetime)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_changes_with_the_content() {
        let path = |body| Asset::new("style", "css", "text/css", body).path;
        assert_ne!(path(b"a{}"), path(b"b{}"));
        assert_eq!(path(b"a{}"), path(b"a{}"));
    }

    #[test]
    fn an_asset_has_one_name_in_all_versions() {
        for (name, is_named) in [
            ("style.0123456789ab.css", true),
            ("style.x.css", true),
            ("style.css", false),
            ("style.x.css.map", false),
            ("style.x.js", false),
            ("../style.x.css", false),
        ] {
            assert_eq!(STYLE.is_named(name), is_named, "{name}");
        }
    }
}
