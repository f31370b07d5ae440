//! Apart from the pages below `/ui/`, the service has exactly the routes in the OpenAPI document.
//!
//! The reserved keys come from the document, so a route that is missing from it could shadow a link. The path of a page
//! has at least two segments, so a page can't shadow a link.

use std::collections::BTreeSet;

use reqwest::{Method, header};
use serde_json::{Value, json};
use urlshort::link::Key;

use crate::{
    readme::README,
    support::{TestApp, assert_error},
};

/// Common route names. Tests probe them because a router can't list its routes.
const COMMON_NAMES: &str = "\
    .well-known _health about account admin api api-docs app apps archive assets auth backup batch blocked bulk cache \
    callback check clicks config console count create css dashboard data debug delete details doc docs domains edit \
    env error errors events export favicon.ico feed graphql groups health healthcheck heartbeat help home hook hooks \
    image images img import index index.html info internal job jobs js key keys limits link links list live liveness \
    livez log login logout logs manage manifest.json me metrics new oauth openapi openapi.yaml page pages ping ping.txt \
    pprof preview private profile prometheus public qr qrcode query rapidoc ready readiness recent redirect redirects \
    redoc register reload report rest robots.txt rpc s scalar schema search security.txt session settings short shorten \
    shutdown signin signup sitemap.xml spec start startup startupz static stat stats status stop store swagger \
    swagger-ui system tags test token tokens top trace ui unlock up update upload url urls user users v1 v2 v3 version \
    visits web webhook ws";

/// A method that no route accepts, so that probes change nothing.
const UNKNOWN: &str = "BREW";

struct Document(Value);

impl Document {
    async fn of(app: &TestApp) -> Self {
        Self(app.get("/openapi.json").await.json().await.unwrap())
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.0["paths"].as_object().unwrap().keys().map(String::as_str)
    }

    /// Returns the methods of all path templates that match `path`.
    fn methods(&self, path: &str) -> BTreeSet<String> {
        let matching = self.paths().filter(|template| matches(template, path));
        let methods = matching.flat_map(|template| self.0["paths"][template].as_object().unwrap().keys());
        methods.map(|method| method.to_uppercase()).collect()
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(expected, segment)| {
            expected == segment || expected.starts_with('{') && !segment.is_empty()
        })
}

/// Returns the common route names, and every path segment in the document or the README.
fn names(document: &Document) -> BTreeSet<String> {
    let code = README.split('`').skip(1).step_by(2).filter(|code| code.contains('/'));
    let segments = document.paths().chain(code).flat_map(|path| path.split(['/', ' ', '?']));
    let is_plain = |name: &&str| {
        let mut bytes = name.bytes();
        // `.` and `..` can't be probed, because the client resolves them.
        !matches!(*name, "" | "." | "..")
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    COMMON_NAMES.split_whitespace().chain(segments).filter(is_plain).map(Into::into).collect()
}

/// Returns paths with each name in every position that routes use.
fn candidates(document: &Document) -> Vec<String> {
    let shapes = [
        "/N",
        "/N/",
        "/N/x",
        "/N/x/y",
        "/x/N",
        "/x/N/y",
        "/api/N",
        "/api/v1/N",
        "/api/v1/N/x",
        "/api/v1/links/N",
        "/api/v1/links/x/N",
    ];
    let names = names(document);
    let with_name = |name: &String| shapes.map(|shape| shape.replace('N', name));
    names.iter().flat_map(with_name).chain(["/".into(), "//".into()]).collect()
}

/// Returns whether `path` is a page below `/ui/`.
///
/// `/ui` alone, `/ui+` and `/ui/qr` belong to the link whose key is `ui`.
fn is_page(path: &str) -> bool {
    path.strip_prefix("/ui/").is_some_and(|rest| !rest.is_empty() && rest != "qr")
}

async fn call(app: &TestApp, method: &str, path: &str) -> reqwest::Response {
    let method: Method = method.parse().unwrap();
    app.client.request(method, app.url(path)).send().await.unwrap()
}

#[tokio::test]
async fn a_path_accepts_only_the_documented_methods() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    for template in document.paths() {
        let path = template.replace("{key}", "k").replace("{host}", "h.example");
        let own = document.0["paths"][template].as_object().unwrap();
        // A path may also accept the methods of a more general template: `/api/v1/links/batch` also matches
        // `/api/v1/links/{key}`.
        let listed = document.methods(&path);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", UNKNOWN] {
            let status = call(&app, method, &path).await.status();
            if own.contains_key(&method.to_lowercase()) {
                assert_ne!(status, 405, "{method} {path}");
            } else if !listed.contains(method) {
                assert_eq!(status, 405, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn an_undocumented_path_is_not_found() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    for path in candidates(&document).into_iter().filter(|path| !is_page(path)) {
        let (status, code) = match document.methods(&path).is_empty() {
            true => (404, "not_found"),
            false => (405, "method_not_allowed"),
        };
        let response = call(&app, UNKNOWN, &path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_error(response, status, code).await;
    }
}

#[tokio::test]
async fn no_request_reaches_an_undocumented_route() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    for path in candidates(&document) {
        call(&app, UNKNOWN, &path).await;
    }
    let documented: BTreeSet<_> = document.paths().map(ToOwned::to_owned).collect();
    let mut taken = app.labels("http_requests_total", "route");
    assert!(taken.remove("unmatched"));
    taken.retain(|route| !is_page(route));
    // Probes reach every documented route. If a documented route is missing from `taken`, the service doesn't serve it.
    assert_eq!(taken, documented);
}

#[tokio::test]
async fn no_route_shadows_an_accepted_custom_key() {
    let app = TestApp::start().await;
    let mut accepted = 0;
    for name in names(&Document::of(&app).await) {
        if name.parse::<Key>().is_err() {
            continue;
        }
        let target = format!("https://{accepted}.example/");
        let created = app.shorten(json!({ "url": target, "key": name })).await;
        if created.status() != 201 {
            assert_error(created, 409, "key_reserved").await;
            continue;
        }
        let followed = app.get(&format!("/{name}")).await;
        assert_eq!(followed.status(), 302, "{name}");
        assert_eq!(followed.headers()[header::LOCATION], target, "{name}");
        let code = app.get(&format!("/{name}/qr")).await;
        assert_eq!(code.headers()[header::CONTENT_TYPE], "image/svg+xml", "{name}");
        accepted += 1;
    }
    assert!(accepted > 100, "{accepted} names are keys");
}

#[tokio::test]
async fn the_first_segment_of_a_route_is_a_reserved_key() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    for path in candidates(&document) {
        call(&app, UNKNOWN, &path).await;
    }
    let routes = app.labels("http_requests_total", "route");
    let routes = routes.iter().filter(|route| !is_page(route));
    let segments: BTreeSet<_> = routes.filter_map(|route| route.split('/').nth(1)).collect();
    let mut refused = Vec::new();
    for segment in segments {
        if segment.parse::<Key>().is_ok() {
            let response = app.shorten(json!({ "url": "https://example.com", "key": segment })).await;
            assert_error(response, 409, "key_reserved").await;
            refused.push(segment);
        }
    }
    assert_eq!(refused, ["api", "healthz", "metrics", "readyz", "shorten"]);
}
