//! Measures the CPU time of redirects over a socket, for this service and for nginx.
//!
//! `cargo bench --bench cost` needs nginx and wrk (Debian packages with the same names) and two cores: one for the
//! server, and one for the load generator. The contenders take turns for five rounds, and the medians are printed. The
//! service runs with everything turned on: its store, a JSON access log to a file, metrics, click counting, request
//! ids, limits and timeouts. The figures are also written to `target/cost.json`. Every run requests the same keys in
//! the same order. Rows with a rate use an open loop; see [`open_loop`].
//!
//! `SECONDS=1 ROUNDS=1` shortens the run. `ONLY=nginx,sqlite` measures only contenders whose names contain one of these
//! words, and the two references: nginx with a log, and the service with one link.

#![expect(clippy::cast_possible_truncation, reason = "all numbers here are small")]

mod contenders;
mod load;
mod open_loop;
mod server;

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use self::{
    contenders::{Contender, contenders},
    load::prepare,
    server::{Server, bare_hyper},
};

#[expect(clippy::print_stdout, reason = "the table is the output of the benchmark")]
fn main() {
    if let Some(port) = env::var_os("BARE_HYPER") {
        return bare_hyper(&port);
    }
    if let Ok(description) = env::var(open_loop::VARIABLE) {
        return open_loop::generate(&description);
    }
    let number = |name: &str, default| env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, seconds) = (number("ROUNDS", 5), number("SECONDS", 3));
    let only = env::var("ONLY").unwrap_or_default();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let contenders: Vec<_> = contenders()
        .into_iter()
        .filter(|contender| {
            contender.is_reference
                || contender.name == ONE_LINK
                || only.split(',').any(|word| contender.name.contains(word))
        })
        .collect();
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    for contender in &contenders {
        contender.fill(directory.path());
    }
    for _ in 0..rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            samples.push(measure(contender, directory.path(), seconds));
        }
    }
    let medians: Vec<_> = samples.into_iter().map(median).collect();
    let is_reference = |(contender, _): &(&Contender, &Sample)| contender.is_reference;
    let reference = contenders.iter().zip(&medians).find(is_reference).expect("nginx is measured").1.cpu;
    let one_link = |(contender, _): &(&Contender, &Sample)| contender.name == ONE_LINK;
    let one_link = contenders.iter().zip(&medians).find(one_link).expect("it is measured").1.cpu;
    println!(
        "{:<43} {:>7} {:>7} {:>10} {:>10} {:>7} {:>7} {:>8} {:>8} {:>6}",
        "", "µs CPU", "nginx=1", "one link=1", "requests/s", "p50 µs", "p99 µs", "ready ms", "idle MB", "MB"
    );
    let mut report = Vec::new();
    for (contender, sample) in contenders.iter().zip(&medians) {
        let Sample { cpu, rate, p50, p99, ready, idle, loaded } = sample;
        let (name, ratio, to_one_link) = (contender.name, cpu / reference, cpu / one_link);
        println!(
            "{name:<43} {cpu:>7.2} {ratio:>7.2} {to_one_link:>10.2} {rate:>10.0} {p50:>7.0} {p99:>7.0} {ready:>8.1} {idle:>8.1} {loaded:>6.1}"
        );
        report.push(json!({
            "name": name, "cpu_us": cpu, "ratio": ratio, "ratio_to_one_link": to_one_link, "requests_per_s": rate, "p50_us": p50, "p99_us": p99,
            "ready_ms": ready, "idle_mb": idle, "loaded_mb": loaded,
        }));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../cost.json");
    fs::write(file, Value::from(report).to_string()).expect("a report");
}

/// The contender that all contenders with many links are compared with.
const ONE_LINK: &str = "urlshort, sqlite";

/// How much longer to measure contenders that write clicks to SQLite's journal.
///
/// The journal is merged after 20 seconds, so 3 x 7 seconds after an equally long warm-up include a whole merge.
const JOURNAL_FACTOR: u32 = 7;

/// The measurements of one round.
///
/// Times are in microseconds, except for `ready`, which is in milliseconds. Memory is in megabytes.
#[derive(Clone)]
struct Sample {
    cpu: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    ready: f64,
    idle: f64,
    loaded: f64,
}

fn median(samples: Vec<Sample>) -> Sample {
    let of = |pick: fn(&Sample) -> f64| {
        let mut values: Vec<_> = samples.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Sample {
        cpu: of(|sample| sample.cpu),
        rate: of(|sample| sample.rate),
        p50: of(|sample| sample.p50),
        p99: of(|sample| sample.p99),
        ready: of(|sample| sample.ready),
        idle: of(|sample| sample.idle),
        loaded: of(|sample| sample.loaded),
    }
}

fn measure(contender: &Contender, directory: &Path, seconds: u32) -> Sample {
    let server = Server::start(|port| contender.command(directory, port));
    prepare(&server, contender);
    let ready = server.ready.as_secs_f64() * 1e3;
    let idle = server.resident();
    let seconds = if contender.fills_journal() { JOURNAL_FACTOR * seconds } else { seconds };
    // Warm up the cache. Filling it takes about as long as one measurement.
    load::run(&server.base, contender, directory, seconds);
    let before = server.cpu();
    let answers = load::run(&server.base, contender, directory, seconds);
    let cpu = (server.cpu() - before) / answers.count * 1e6;
    let loaded = server.resident();
    Sample { cpu, rate: answers.rate, p50: answers.p50, p99: answers.p99, ready, idle, loaded }
}
