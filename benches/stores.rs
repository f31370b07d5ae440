//! Measures creates and reads of a million uncached links in each store.
//!
//! `cargo bench --bench stores` starts a PostgreSQL server and a Redis server in temporary directories, each with its
//! most durable settings (`fsync=on`; `appendfsync always`). It uses 64 concurrent clients. For comparison, it also
//! runs the servers' own benchmark tools: pgbench runs the statements that the service would run for a single link, and
//! redis-benchmark runs the service's script and its read command. `LINKS=10000` shortens the run.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngExt;
use urlshort::{
    config::StoreOptions,
    link::Link,
    store::{self, History, Store},
};

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest of it")]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: u64 = 64;
const READING: Duration = Duration::from_secs(10);
const TARGET: &str = "https://example.com/some/path";

/// The numbers of creates and reads per second.
struct Rates {
    creates: f64,
    reads: f64,
}

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn main() {
    // Ignore arguments: cargo passes --bench, and with a single benchmark there is nothing to filter.
    let links = std::env::var("LINKS").map_or(1_000_000, |links| links.parse().expect("LINKS is a number"));
    println!("{:<20} {:>12} {:>12}   ({links} links, {CLIENTS} clients)", "", "creates/s", "reads/s");
    let directory = tempfile::tempdir().expect("a temporary directory");
    print("sqlite", &rates(&support::sqlite_in(directory.path()), links));

    let server = support::Postgres::start_with(|_| vec!["fsync=on".into(), "shared_buffers=512MB".into()]);
    let ours = rates(&server.url(), links);
    print_comparison("postgres", &ours, "pgbench", &pgbench(&server, links));

    let server = support::Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let ours = rates(&server.url(), links);
    print_comparison("redis", &ours, "redis-benchmark", &redis_benchmark(&server, links));
}

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn print(name: &str, rates: &Rates) {
    println!("{name:<20} {:>12.0} {:>12.0}", rates.creates, rates.reads);
}

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn print_comparison(name: &str, ours: &Rates, tool_name: &str, tool: &Rates) {
    print(name, ours);
    print(tool_name, tool);
    let percent = |ours: f64, tool: f64| ours / tool * 100.0;
    let (creates, reads) = (percent(ours.creates, tool.creates), percent(ours.reads, tool.reads));
    println!("{:<20} {creates:>10.0} % {reads:>10.0} %", "  of that");
}

/// Measures the service's own store, without a cache.
fn rates(url: &str, links: u64) -> Rates {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store_timeout = Duration::from_secs(30);
        let store = store::open(&StoreOptions {
            store_timeout,
            ..StoreOptions::new(url.parse().expect("a store URL"))
        })
        .await
        .expect("a store");
        let next = Arc::new(AtomicU64::new(0));
        let creates = rate(&store, move |store| {
            let next = next.clone();
            async move {
                let number = next.fetch_add(1, Ordering::Relaxed);
                number < links && store.put_if_absent(link(number), History::default()).await.expect("a link")
            }
        });
        let creates = creates.await;
        let start = Instant::now();
        let reads = rate(&store, move |store| async move {
            let number = rand::rng().random_range(0..links);
            assert!(store.get(&key(number)).await.expect("a response").is_some());
            start.elapsed() < READING
        });
        let rates = Rates { creates, reads: reads.await };
        store.close().await;
        rates
    })
}

/// Runs `call` on all clients until it returns false.
///
/// Returns the number of calls per second.
async fn rate<F: Future<Output = bool> + Send>(
    store: &Arc<dyn Store>,
    call: impl Fn(Arc<dyn Store>) -> F + Clone + Send + 'static,
) -> f64 {
    let start = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (store, call) = (store.clone(), call.clone());
        tokio::spawn(async move {
            let mut count = 0_u32;
            while call(store.clone()).await {
                count += 1;
            }
            count
        })
    });
    let mut count = 0;
    for client in clients.collect::<Vec<_>>() {
        count += client.await.expect("a client");
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn key(number: u64) -> urlshort::link::Key {
    format!("k{number}").parse().expect("a key")
}

fn link(number: u64) -> Link {
    Link::new(key(number), TARGET.parse().expect("a target"), jiff::Timestamp::now())
}

fn pgbench(server: &support::Postgres, links: u64) -> Rates {
    let run = |script: String| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, script).expect("a script");
        let mut pgbench = Command::new("pgbench");
        pgbench.args(["-n", "-M", "prepared", "-j", "2", "-c", &CLIENTS.to_string()]);
        pgbench.args(["-T", &READING.as_secs().to_string()]).arg("-f").arg(file.path()).arg(server.url());
        number_after(&output(&mut pgbench), "tps = ")
    };
    Rates {
        creates: run(format!(
            "\\set n random(1, 1000000000000)
            INSERT INTO links (key, created_at, version, doc) VALUES ('p' || :n, :n, 1, \
             '{{\"target\":\"{TARGET}\"}}') ON CONFLICT DO NOTHING RETURNING key;"
        )),
        reads: run(format!(
            "\\set n random(0, {})
            SELECT links.key, links.created_at, version, doc::text, clicks, visits FROM links LEFT JOIN counts \
             USING (key, created_at) WHERE links.key = 'k' || :n;",
            links - 1
        )),
    }
}

fn redis_benchmark(server: &support::Redis, links: u64) -> Rates {
    let run = |arguments: &[&str]| {
        let mut benchmark = Command::new("redis-benchmark");
        benchmark.args(["-h", "127.0.0.1", "-p", &server.port.to_string(), "-c", &CLIENTS.to_string()]);
        benchmark.args(["-n", &links.to_string(), "-r", &links.to_string()]);
        // The tool overwrites its progress line repeatedly. The last version is the result.
        number_before(&output(benchmark.args(arguments)), " requests per second")
    };
    let script = include_str!("../src/store/redis/put.lua");
    let sha = server.cli(&["SCRIPT", "LOAD", script]);
    let (link, listing) = ("b:__rand_int__", "b:by_creation");
    let creates = [
        "EVALSHA",
        sha.trim(),
        "4",
        link,
        listing,
        "b:by_clicks",
        "b:days",
        "1.__rand_int__",
        "1234567890123",
        "1",
        &format!("{{\"target\":\"{TARGET}\"}}"),
        "401234567890123:__rand_int__",
        "0",
        "0",
        "0",
    ];
    let reads = ["HMGET", link, "created_at", "version", "doc", "clicks", "visits"];
    Rates { creates: run(&creates), reads: run(&reads) }
}

fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("the tool is installed");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn number_after(text: &str, mark: &str) -> f64 {
    let rest = text.split_once(mark).expect("the tool prints its rate").1;
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn number_before(text: &str, mark: &str) -> f64 {
    let before = text.rsplit_once(mark).expect("the tool prints its rate").0;
    before.split_whitespace().next_back().and_then(|number| number.parse().ok()).expect("a number")
}
