//! Compares table layouts for links and clicks in SQLite: creates, counting and reads.
//!
//! `cargo bench --bench layout` compares them on 20,000 links in about three minutes. `cargo bench --bench layout --
//! --links 1000000` takes about two minutes for each layout. `--only columns` runs only the layouts whose names contain
//! `columns`. `--checkpoint-pages 4000` sets `wal_autocheckpoint` to the service's value. Without this option, SQLite's
//! default applies.
//!
//! Each layout gets its own file in a temporary directory, with the same links and the same traffic:
//! 1. Create links with random keys, in transactions of 512.
//! 2. Count 30 seconds of traffic on the first day and 10 seconds on each of five further days. There are 20,000 visits
//!    per second. The links are shuffled, and the link for each visit is chosen by Zipf's law with exponent 1. As in
//!    the service, identical visits are tallied, sorted by key and written in transactions of 1000. The figures exclude
//!    the time that it takes to generate and tally the visits.
//! 3. Read counts and links through a new connection, and parse the documents.
//!
//! `written` is the number of bytes that SQLite writes to the log and in checkpoints. `grown` is the growth of the file
//! during the traffic, per clicked link. CPU time comes from `/proc`, so the benchmark needs Linux.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env, fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use rusqlite::{Connection, Params, types::ValueRef};
use serde::{Deserialize, Serialize};

mod contenders;

use contenders::Layout;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first day of traffic, in days since 1970-01-01.
const FIRST_DAY: i64 = 20_600;
/// The number of seconds of traffic on each day.
const SECONDS: [usize; 6] = [30, 10, 10, 10, 10, 10];
const VISITS: usize = 20_000;
const BATCH: usize = 1000;
const CREATES: usize = 512;
const HOSTS: u8 = 50;

const HEADER: &str = "\
layout            links/s  B/link    CPU us   wall us   written     grown   30 days    by key    top 50
                                     /visit    /visit   B/visit B/clicked        us        us        us";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Device {
    Desktop,
    Mobile,
    Tablet,
    Other,
}

/// The counts that one batch adds to one link.
struct Delta<'a> {
    key: &'a str,
    created_at: i64,
    clicks: u64,
    bots: u64,
    devices: BTreeMap<Device, u64>,
    referrers: BTreeMap<String, u64>,
}

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn main() {
    let links = option("--links").map_or(20_000, |links| links.parse().expect("--links is a number"));
    let pages = option("--checkpoint-pages").map_or(1000, |pages| pages.parse().expect("a number of pages"));
    let only = option("--only").unwrap_or_default();
    println!("{links} links, checkpoints of {pages} pages, {VISITS} visits in each of {SECONDS:?} seconds\n");
    println!("{HEADER}");
    let keys = keys(links);
    for layout in contenders::all().iter().filter(|layout| layout.name.contains(&only)) {
        measure(layout, &keys, pages);
    }
}

fn option(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}

fn keys(count: usize) -> Vec<String> {
    const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = StdRng::seed_from_u64(1);
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    while keys.len() < count {
        let key: String = (0..7).map(|_| char::from(BASE62[random.random_range(0..62)])).collect();
        if seen.insert(key.clone()) {
            keys.push(key);
        }
    }
    keys
}

fn created_at(link: usize) -> i64 {
    1_780_000_000_000 + i64::try_from(link).expect("a small number")
}

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn measure(layout: &Layout, keys: &[String], pages: u32) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("links.db");
    let mut writer = Connection::open(&path).expect("a database");
    writer
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {pages};
         PRAGMA cache_size = -8000; {}",
            layout.schema
        ))
        .expect("the schema");

    let start = Instant::now();
    create(&mut writer, layout, keys);
    let creates = keys.len() as f64 / start.elapsed().as_secs_f64();
    let before = size(&writer, &path);

    let mut traffic = Traffic::new(keys);
    let mut clicked = HashSet::new();
    let (mut cpu, mut wall, mut written) = (Duration::ZERO, Duration::ZERO, 0);
    for (day, seconds) in (FIRST_DAY..).zip(SECONDS) {
        for _ in 0..seconds {
            let batches = traffic.second();
            clicked.extend(batches.iter().flatten().filter(|delta| delta.clicks > 0).map(|delta| delta.key));
            let (cpu_before, written_before, start) = (cpu_time(), written_bytes(), Instant::now());
            for batch in &batches {
                let transaction = writer.transaction().expect("a transaction");
                for delta in batch {
                    (layout.add)(&transaction, delta, day).expect("counts");
                }
                transaction.commit().expect("a commit");
            }
            wall += start.elapsed();
            cpu += cpu_time() - cpu_before;
            written += written_bytes() - written_before;
        }
    }
    let grown = size(&writer, &path) - before;
    drop(writer);

    let visits = (SECONDS.iter().sum::<usize>() * VISITS) as f64;
    let [days, link, top] = reads(layout, &path, keys, &clicked);
    println!(
        "{:<16} {creates:>8.0} {:>7.0} {:>9.2} {:>9.2} {:>9.0} {:>9.0} {days:>9.1} {link:>9.1} {top:>9.0}",
        layout.name,
        before as f64 / keys.len() as f64,
        cpu.as_secs_f64() * 1e6 / visits,
        wall.as_secs_f64() * 1e6 / visits,
        written as f64 / visits,
        grown as f64 / clicked.len() as f64,
    );
}

fn create(writer: &mut Connection, layout: &Layout, keys: &[String]) {
    for (number, chunk) in keys.chunks(CREATES).enumerate() {
        let transaction = writer.transaction().expect("a transaction");
        for (index, key) in chunk.iter().enumerate() {
            let target = format!("https://www.example.com/articles/2026/{key}/a-title-of-words");
            let target = if layout.documents { format!(r#"{{"target":"{target}"}}"#) } else { target };
            let mut insert = transaction.prepare_cached(layout.insert).expect("a statement");
            insert.execute((key, created_at(number * CREATES + index), target)).expect("a link");
        }
        transaction.commit().expect("a commit");
    }
}

/// Moves the write-ahead log into the database file, and returns the size of that file.
fn size(writer: &Connection, path: &Path) -> u64 {
    writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).expect("a checkpoint");
    fs::metadata(path).expect("the file").len()
}

fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("statistics of the thread");
    let nanoseconds = stat.split_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("statistics of the process");
    let bytes = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    bytes.and_then(|bytes| bytes.parse().ok()).expect("bytes")
}

/// Measures three reads, in microseconds: 30 days of a link, a link with its counts, and the 50 most clicked links.
fn reads(layout: &Layout, path: &Path, keys: &[String], clicked: &HashSet<&str>) -> [f64; 3] {
    let reader = Connection::open(path).expect("a database");
    let mut random = StdRng::seed_from_u64(3);
    let mut clicked: Vec<_> = clicked.iter().copied().collect();
    clicked.sort_unstable();
    let mut each = |sql: &str, keys: &mut dyn FnMut(&mut StdRng) -> String, count: u32| {
        let start = Instant::now();
        for _ in 0..count {
            assert!(read(&reader, sql, [keys(&mut random)]) > 0, "{sql}");
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    };
    let days =
        each(&layout.days, &mut |random| clicked[random.random_range(0..clicked.len())].to_owned(), 1000);
    let link = each(layout.link, &mut |random| keys[random.random_range(0..keys.len())].clone(), 100_000);
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(read(&reader, &layout.top, ()), 50);
    }
    [days, link, start.elapsed().as_secs_f64() * 1e6 / 20.0]
}

/// Reads all rows, parses their documents, and returns how many there are.
fn read(reader: &Connection, sql: &str, parameters: impl Params) -> usize {
    let mut statement = reader.prepare_cached(sql).expect("a statement");
    let columns = statement.column_count();
    let mut rows = statement.query(parameters).expect("a result");
    let mut count = 0;
    while let Some(row) = rows.next().expect("a row") {
        count += 1;
        for column in 0..columns {
            match row.get_ref(column).expect("a column") {
                ValueRef::Text(text) if text.starts_with(b"{") => {
                    black_box(serde_json::from_slice::<serde_json::Value>(text).expect("a document"));
                }
                value => _ = black_box(value),
            }
        }
    }
    count
}

/// A bot (`None`), or a person's device and referrer.
type Visitor = Option<(Device, Option<u8>)>;

/// A generator of visits with a fixed seed.
struct Traffic<'a> {
    keys: &'a [String],
    /// Indices of `keys`, with the most popular link first.
    links: Vec<usize>,
    /// Cumulative weights of `links`.
    weights: Vec<f64>,
    random: StdRng,
}

impl<'a> Traffic<'a> {
    fn new(keys: &'a [String]) -> Self {
        let mut random = StdRng::seed_from_u64(2);
        let mut links: Vec<_> = (0..keys.len()).collect();
        links.shuffle(&mut random);
        let weights = (1..=keys.len()).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self { keys, links, weights: weights.collect(), random }
    }

    fn visit(&mut self) -> (usize, Visitor) {
        let point = self.random.random_range(0.0..self.weights[self.weights.len() - 1]);
        let rank = self.weights.partition_point(|weight| *weight <= point);
        let random = &mut self.random;
        let visitor = random.random_bool(0.9).then(|| {
            let device = if random.random_bool(0.6) { Device::Mobile } else { Device::Desktop };
            (device, random.random_bool(0.3).then(|| random.random_range(0..HOSTS)))
        });
        (self.links[rank], visitor)
    }

    /// Generates one second of visits, and returns them in batches.
    fn second(&mut self) -> Vec<Vec<Delta<'a>>> {
        let mut tallies = HashMap::<_, u64>::new();
        for _ in 0..VISITS {
            *tallies.entry(self.visit()).or_default() += 1;
        }
        let mut tallies: Vec<_> = tallies.into_iter().collect();
        tallies.sort_unstable_by_key(|((link, visitor), _)| (&self.keys[*link], *visitor));
        tallies.chunks(BATCH).map(|batch| self.deltas(batch)).collect()
    }

    fn deltas(&self, batch: &[((usize, Visitor), u64)]) -> Vec<Delta<'a>> {
        let of_one_link = batch.chunk_by(|((one, _), _), ((other, _), _)| one == other);
        let delta = |tallies: &[((usize, Visitor), u64)]| {
            let link = tallies[0].0.0;
            let (devices, referrers) = (BTreeMap::new(), BTreeMap::new());
            let (key, created_at) = (&*self.keys[link], created_at(link));
            let mut delta = Delta { key, created_at, clicks: 0, bots: 0, devices, referrers };
            for ((_, visitor), count) in tallies {
                let Some((device, host)) = visitor else {
                    delta.bots += count;
                    continue;
                };
                delta.clicks += count;
                *delta.devices.entry(*device).or_default() += count;
                if let Some(host) = host {
                    *delta.referrers.entry(format!("news{host}.example")).or_default() += count;
                }
            }
            delta
        };
        of_one_link.map(delta).collect()
    }
}
