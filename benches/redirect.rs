//! The cost of one redirect inside the process, and how much of that cost is counting the visit.
//!
//! `cargo bench --bench redirect` measures the service with all its middleware, but without a socket. `cargo bench
//! --bench cost` measures it over a socket, and compares it with nginx.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use axum::body::Body;
use criterion::{Criterion, criterion_group, criterion_main};
use hyper::{HeaderMap, Method, Request, StatusCode, header, service::Service};
use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use urlshort::{
    app::{App, Dependencies},
    clicks::Clicks,
    clock::Clock,
    command::Cli,
    config::StoreOptions,
    link::Link,
    observability::metrics::Metrics,
    store::{self, History},
    web::visitor,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The user agent of a typical browser.
const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
const REFERER: &str = "https://news.example.com/";

fn link() -> Link {
    let target = "https://example.com/some/path".parse().expect("a target");
    Link::new("q0V8fYz".parse().expect("a key"), target, Timestamp::now())
}

fn redirects(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sqlite = format!("sqlite:{}", directory.path().join("links.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for url in ["memory:", &sqlite] {
        let options = StoreOptions::new(url.parse().expect("a store URL"));
        let store = runtime.block_on(store::open(&options)).expect("a store");
        assert!(runtime.block_on(store.put_if_absent(link(), History::default())).expect("a link"));
        let config = Cli::read(["urlshort".into()]).expect("the defaults are valid").config;
        let dependencies = Dependencies {
            store,
            metrics: Arc::new(Metrics::new()),
            clock: Clock::system(),
            rng: StdRng::seed_from_u64(1),
        };
        let service = App::new(&config, dependencies).expect("no file is needed").public_service();
        let service = service.for_peer(IpAddr::from([127, 0, 0, 1]));
        // A cached link is followed immediately, an unknown key needs a lookup, and HEAD goes through the router.
        for (method, path, status) in [
            (Method::GET, "/q0V8fYz", StatusCode::FOUND),
            (Method::HEAD, "/q0V8fYz", StatusCode::FOUND),
            (Method::GET, "/unknown", StatusCode::NOT_FOUND),
        ] {
            let name = url.split(':').next().unwrap_or_default();
            criterion.bench_function(&format!("{name} {method} {}", status.as_u16()), |bencher| {
                bencher.iter(|| {
                    let request = Request::builder().method(method.clone()).uri(path);
                    let request = request.header(header::USER_AGENT, AGENT).header(header::REFERER, REFERER);
                    let request = request.body(Body::empty()).expect("a request");
                    let response = runtime.block_on(service.clone().call(request));
                    assert!(black_box(response).is_ok_and(|response| response.status() == status));
                });
            });
        }
    }
}

/// Measures how long it takes to classify a visitor and queue the click.
fn counting(criterion: &mut Criterion) {
    let clicks = Clicks::new(&Metrics::new());
    let link = link();
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, AGENT.parse().expect("a header"));
    headers.insert(header::REFERER, REFERER.parse().expect("a header"));
    let day = jiff::civil::date(2026, 6, 1);
    criterion.bench_function("counting the visit", |bencher| {
        bencher.iter(|| clicks.record(black_box(&link), day, visitor(black_box(&headers))));
    });
}

criterion_group!(benches, redirects, counting);
criterion_main!(benches);
