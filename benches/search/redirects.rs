//! Redirects of the real program, alone and beside a client that searches without a pause.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rand::RngExt;
use reqwest::{Client, redirect::Policy};

use crate::{links::Links, runtime, support};

/// Redirects in each row.
const REDIRECTS: u32 = 20_000;

/// The pause between two redirects. It leaves a core idle most of the time.
const PAUSE: Duration = Duration::from_micros(200);

const TOKEN: &str = "a-token-of-the-benchmark";

pub(crate) fn report(url: &str, links: &Links, count: u64) {
    let tokens = format!("bench:{TOKEN}");
    let settings = [("STORE_URL", url), ("API_TOKENS", &tokens), ("RATE_LIMIT", "0")];
    println!("\n{:<26} {:>9} {:>9} {:>9} {:>10}", "redirects", "p50", "p99", "max", "searches");
    for (name, cache, is_cold) in [("one link, in memory", "32MiB", false), ("any link, no cache", "0", true)]
    {
        let process = support::Process::start(&[&settings[..], &[("CACHE_BYTES", cache)]].concat());
        let key =
            || if is_cold { links.link(rand::rng().random_range(0..count)).key } else { links.link(1).key };
        for searches in [false, true] {
            let (stop, searched) = (AtomicBool::new(false), AtomicU64::new(0));
            let url = process.url("/api/v1/links?search=haystack");
            let times = thread::scope(|scope| {
                if searches {
                    scope.spawn(|| search(&url, &stop, &searched));
                }
                let times = follow(&process, &key);
                stop.store(true, Ordering::Relaxed);
                times
            });
            let at = |share: f64| percentile(&times, share);
            println!(
                "{:<26} {:>6.2} ms {:>6.2} ms {:>6.2} ms {:>10}",
                if searches { format!("{name}, searched") } else { name.into() },
                at(0.5),
                at(0.99),
                at(1.0),
                searched.into_inner(),
            );
        }
        process.terminate();
    }
}

/// Searches for a text that no link has, from page to page.
fn search(url: &str, stop: &AtomicBool, searched: &AtomicU64) {
    runtime().block_on(async {
        let (client, mut cursor) = (Client::new(), String::new());
        while !stop.load(Ordering::Relaxed) {
            let page =
                client.get(format!("{url}{cursor}")).bearer_auth(TOKEN).send().await.expect("an answer");
            let page: serde_json::Value =
                page.error_for_status().expect("a page").json().await.expect("a body");
            cursor = page["next"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
            searched.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Returns how long redirects took, in milliseconds, sorted.
fn follow(process: &support::Process, key: &dyn Fn() -> urlshort::link::Key) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::builder().redirect(Policy::none()).build().expect("a client");
        let mut times = Vec::new();
        for _ in 0..REDIRECTS {
            let url = process.url(&format!("/{}", key()));
            thread::sleep(PAUSE);
            let start = Instant::now();
            client.get(url).send().await.expect("an answer");
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
