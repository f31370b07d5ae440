//! Redirects by the real program during a purge of expired links.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use rand::RngExt;
use urlshort::store::{History, Store};

use crate::{
    links::{CLIENTS, Links},
    open,
    redirects::{self, REDIRECTS},
    runtime, support,
};

/// The number of links to purge while redirects are measured.
const EXPIRED: u64 = 100_000;

/// The time limit for a sweep.
const LIMIT: Duration = Duration::from_mins(10);

pub(crate) fn report(url: &str, links: &Links, count: u64) {
    redirects::print_header();
    let mut next = count;
    for (name, cache, is_cold) in redirects::KINDS {
        let key =
            || if is_cold { links.link(rand::rng().random_range(0..count)).key } else { links.link(1).key };
        let alone = support::Process::start(&[("STORE_URL", url), ("CACHE_BYTES", cache)]);
        let start = Instant::now();
        let times = redirects::follow(&alone, &key, |followed| followed == REDIRECTS);
        redirects::print_row(name, &times, 0, start.elapsed());
        alone.terminate();

        runtime().block_on(async {
            let store = open(url).await;
            put_expired(links, &store, next..next + EXPIRED).await;
            store.close().await;
        });
        next += EXPIRED;
        let variables = [("STORE_URL", url), ("CACHE_BYTES", cache), ("PURGE_EXPIRED_AFTER", "10s")];
        let purging = support::Process::start(&variables);
        let metrics = purging.url("/metrics");
        let (is_over, start) = (AtomicBool::new(false), Instant::now());
        let (times, purged) = thread::scope(|scope| {
            let purged = scope.spawn(|| {
                let purged = wait_for_sweep(&metrics);
                is_over.store(true, Ordering::Relaxed);
                purged
            });
            let times = redirects::follow(&purging, &key, |_| is_over.load(Ordering::Relaxed));
            (times, purged.join().expect("the metrics can be read"))
        });
        redirects::print_row(&format!("{name}, purge"), &times, purged, start.elapsed());
        purging.terminate();
    }
}

async fn put_expired(links: &Links, store: &Arc<dyn Store>, numbers: Range<u64>) {
    let long_ago: Timestamp = "2020-01-01T00:00:00Z".parse().expect("a time");
    let puts = stream::iter(numbers).map(|number| {
        let mut link = links.link(number);
        link.doc.options.expires_at = Some(long_ago);
        link.doc.taken_down_at = None;
        store.put_if_absent(link, History::default())
    });
    let failed = puts.buffer_unordered(CLIENTS).filter(|put| std::future::ready(put.is_err()));
    assert_eq!(failed.count().await, 0, "links could not be created");
}

/// Waits for the first complete sweep and returns the number of links that it deleted.
fn wait_for_sweep(metrics: &str) -> u64 {
    runtime().block_on(support::eventually(LIMIT, async || {
        let text = reqwest::get(metrics).await.expect("a response").text().await.expect("a body");
        let value = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.expect("the metric").parse().expect("a whole number")
        };
        let purged = value("purged_links_total");
        if value("purge_last_run_timestamp_seconds") > 0 { Ok(purged) } else { Err(purged) }
    }))
}
