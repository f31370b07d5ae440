//! Durable creates on SQLite: this service's group commit compared with one commit per link.
//!
//! `cargo bench --bench creates` prints links per second for 1, 8 and 64 clients. Rounds alternate between the two
//! methods on the same disk, and each figure is a median. Both methods count a link only after its fsync
//! (`synchronous=FULL`).

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::Connection;
use urlshort::{
    config::StoreOptions,
    link::Link,
    store::{self, History},
};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const CLIENTS: [usize; 3] = [1, 8, 64];

const INSERT: &str =
    "INSERT INTO links (key, created_at, version, doc) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING";

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    println!("{:>8} {:>22} {:>22} {:>7}", "clients", "group commit, links/s", "one commit each, /s", "ratio");
    for clients in CLIENTS {
        let (mut grouped, mut single) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            grouped.push(group_commit(directory.path(), clients));
            single.push(commit_each(directory.path(), clients));
        }
        let (grouped, single) = (median(grouped), median(single));
        println!("{clients:>8} {grouped:>22.0} {single:>22.0} {:>6.1}x", grouped / single);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures creates through the service's own store, in links per second.
fn group_commit(directory: &Path, clients: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url = format!("sqlite:{}", directory.join("group.db").display());
        let store =
            store::open(&StoreOptions::new(url.parse().expect("a store URL"))).await.expect("a store");
        let (count, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let writers = (0..clients).map(|_| {
            let (store, count) = (store.clone(), count.clone());
            tokio::spawn(async move {
                while start.elapsed() < ROUND {
                    assert!(store.put_if_absent(new_link(), History::default()).await.expect("a link"));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer");
        }
        let rate = rate(&count, start);
        store.close().await;
        rate
    })
}

/// Measures creates with one transaction per link, in links per second.
///
/// The service's store creates the file and its tables.
fn commit_each(directory: &Path, clients: usize) -> f64 {
    let path = directory.join("single.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = StoreOptions::new(format!("sqlite:{}", path.display()).parse().expect("a store URL"));
    runtime.block_on(async { store::open(&options).await.expect("a store").close().await });
    let file = Connection::open(path).expect("a file");
    file.pragma_update(None, "synchronous", "FULL").expect("FULL");
    let (file, count, stop) = (Mutex::new(file), AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let link = new_link();
                    let file = file.lock().expect("no writer panics");
                    let mut insert = file.prepare_cached(INSERT).expect("a statement");
                    let doc = serde_json::to_string(&link.doc).expect("a document");
                    let row = (link.key.as_str(), link.created_at.as_millisecond(), doc);
                    insert.execute(row).expect("a link");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while start.elapsed() < ROUND {
            thread::park_timeout(ROUND - start.elapsed().min(ROUND));
        }
        stop.store(true, Ordering::Relaxed);
    });
    rate(&count, start)
}

fn rate(count: &AtomicU64, start: Instant) -> f64 {
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Returns a link with a unique key.
fn new_link() -> Link {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let key = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).parse().expect("a key");
    let target = format!("https://example.com/some/path/{number}").parse().expect("a target");
    Link::new(key, target, Timestamp::now())
}
