//! Redirects by the real program: alone, during continuous searches, and during a take-down.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use rand::RngExt;
use reqwest::{Client, redirect::Policy};
use serde_json::{Value, json};
use urlshort::{link::Link, store::History};

use crate::{links::Links, open, runtime, support};

/// The minimum number of redirects per table row. If the background work takes longer, more redirects are measured.
pub(crate) const REDIRECTS: usize = 20_000;

/// The number of links to take down.
const TAKEN_DOWN: u64 = 10_000;

/// The kinds of redirects to measure.
///
/// Each has a name, a cache size, and a flag that is true to follow random links instead of a single link.
pub(crate) const KINDS: [(&str, &str, bool); 2] =
    [("one link, in memory", "32MiB", false), ("any link, no cache", "0", true)];

/// The pause between two redirects, which leaves a core idle most of the time.
const PAUSE: Duration = Duration::from_micros(200);

const TOKEN: &str = "a-token-of-the-benchmark";

/// The work that runs in the background during redirects.
#[derive(Clone, Copy)]
enum Background {
    Nothing,
    Searches,
    TakeDown,
}

pub(crate) fn report(url: &str, links: &Links, count: u64) {
    let tokens = format!("bench:{TOKEN}");
    let settings = [("STORE_URL", url), ("API_TOKENS", &tokens), ("RATE_LIMIT", "0")];
    print_header();
    for (name, cache, is_cold) in KINDS {
        let process = support::Process::start(&[&settings[..], &[("CACHE_BYTES", cache)]].concat());
        let key =
            || if is_cold { links.link(rand::rng().random_range(0..count)).key } else { links.link(1).key };
        for background in [Background::Nothing, Background::Searches, Background::TakeDown] {
            if matches!(background, Background::TakeDown) {
                put_evil_links(url, is_cold);
            }
            let (stop, calls, start) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
            let times = thread::scope(|scope| match background {
                Background::Nothing => follow(&process, &key, |followed| followed == REDIRECTS),
                Background::Searches => {
                    let url = process.url("/api/v1/links?search=haystack");
                    let (stop, calls) = (&stop, &calls);
                    scope.spawn(move || search(&url, stop, calls));
                    let times = follow(&process, &key, |followed| followed == REDIRECTS);
                    stop.store(true, Ordering::Relaxed);
                    times
                }
                Background::TakeDown => {
                    let url = process.url("/api/v1/links/take-down");
                    let (stop, calls) = (&stop, &calls);
                    scope.spawn(move || take_down(&url, stop, calls));
                    follow(&process, &key, |_| stop.load(Ordering::Relaxed))
                }
            });
            let name = match background {
                Background::Nothing => name.into(),
                Background::Searches => format!("{name}, searched"),
                Background::TakeDown => format!("{name}, take-down"),
            };
            print_row(&name, &times, calls.into_inner(), start.elapsed());
        }
        process.terminate();
    }
}

/// Searches for text that no link contains, page by page.
fn search(url: &str, stop: &AtomicBool, searched: &AtomicU64) {
    runtime().block_on(async {
        let (client, mut cursor) = (Client::new(), String::new());
        while !stop.load(Ordering::Relaxed) {
            let page =
                client.get(format!("{url}{cursor}")).bearer_auth(TOKEN).send().await.expect("a response");
            let page: Value = page.error_for_status().expect("a page").json().await.expect("a body");
            cursor = page["next"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
            searched.fetch_add(1, Ordering::Relaxed);
        }
    });
}

fn put_evil_links(url: &str, is_cold: bool) {
    runtime().block_on(async {
        let store = open(url).await;
        let puts = stream::iter(0..TAKEN_DOWN).map(|number| {
            let (key, target) =
                (format!("evil-{is_cold}-{number}"), format!("https://{number}.evil.example/"));
            let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).expect("a time");
            let link = Link::new(support::key(&key), support::target(&target), now);
            store.put_if_absent(link, History::default())
        });
        let put = puts.buffer_unordered(64).filter(|put| std::future::ready(matches!(put, Ok(true))));
        assert_eq!(put.count().await as u64, TAKEN_DOWN, "links could not be created");
        store.close().await;
    });
}

/// Takes down the links created by [`put_evil_links`], with repeated calls.
fn take_down(url: &str, stop: &AtomicBool, calls: &AtomicU64) {
    let taken = runtime().block_on(async {
        let (client, mut body, mut taken) = (Client::new(), json!({ "host": ".evil.example" }), 0);
        loop {
            let response = client.post(url).bearer_auth(TOKEN).json(&body).send().await.expect("a response");
            let response: Value =
                response.error_for_status().expect("a result").json().await.expect("a body");
            calls.fetch_add(1, Ordering::Relaxed);
            taken += response["done"].as_u64().unwrap_or_default();
            match response["next"].as_str() {
                Some(next) => body["cursor"] = next.into(),
                None => break taken,
            }
        }
    });
    stop.store(true, Ordering::Relaxed);
    assert_eq!(taken, TAKEN_DOWN, "not all links were taken down");
}

pub(crate) fn print_header() {
    println!(
        "\n{:<32} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "redirects", "p50", "p99", "max", "other ops", "seconds"
    );
}

/// Prints percentiles of sorted times, and the number of background operations.
pub(crate) fn print_row(name: &str, times: &[f64], background: u64, elapsed: Duration) {
    let at = |share: f64| percentile(times, share);
    println!(
        "{name:<32} {:>6.2} ms {:>6.2} ms {:>6.2} ms {background:>9} {:>9.1}",
        at(0.5),
        at(0.99),
        at(1.0),
        elapsed.as_secs_f64(),
    );
}

/// Follows links and returns the sorted durations in milliseconds.
///
/// This function stops when `is_enough` returns true for the number of redirects.
pub(crate) fn follow(
    process: &support::Process,
    key: &dyn Fn() -> urlshort::link::Key,
    is_enough: impl Fn(usize) -> bool,
) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::builder().redirect(Policy::none()).build().expect("a client");
        let mut times = Vec::new();
        while !is_enough(times.len()) {
            let url = process.url(&format!("/{}", key()));
            thread::sleep(PAUSE);
            let start = Instant::now();
            client.get(url).send().await.expect("a response");
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_unstable_by(f64::total_cmp);
        times
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index"
)]
fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
