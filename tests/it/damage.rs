//! Damage to some links or to a database page must not affect other links.

use std::{
    fs,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::join_all;
use jiff::civil::{Date, date};
use reqwest::StatusCode;
use serde_json::Value;
use urlshort::{
    clicks::{Clicks, DayCounts, Device, Visitor},
    link::options::Options,
    observability::metrics::Metrics,
    store::{
        History, Store, StoreError,
        listing::{Listing, Order},
    },
};

use crate::support::{Postgres, Process, Redis, client, key, link, open, sqlite_in, uncached, with};

const DAY: Date = date(2026, 6, 1);

/// Creates 20 links. Five of them will be damaged: the first, the last, and three in between.
async fn put_twenty(store: &Arc<dyn Store>) {
    for n in 0..20 {
        let counts = DayCounts { people: 1, ..DayCounts::default() };
        let history = History { days: [(DAY, counts)].into(), ..History::default() };
        let new = link(&format!("{}{n:02}", kind(n)), &format!("https://{n}.example"));
        assert!(store.put_if_absent(new, history).await.unwrap());
    }
}

fn kind(n: usize) -> &'static str {
    if n.is_multiple_of(5) || n == 19 { "bad" } else { "good" }
}

async fn damaged_links_affect_no_others(store: Arc<dyn Store>) {
    let metrics = Arc::new(Metrics::new());
    let links = uncached(store.clone(), metrics.clone());
    let keys: Vec<_> = (0..20).map(|n| key(&format!("{}{n:02}", kind(n)))).collect();
    for _ in 0..20 {
        // Look up all keys concurrently, so that lookups share a batch.
        let found = join_all(keys.iter().map(|key| links.find(key))).await;
        for (key, found) in keys.iter().zip(found) {
            match found {
                Ok(Some(link)) => assert!(key.as_str().starts_with("good") && link.key == *key),
                Err(StoreError::Corrupt(_)) => assert!(key.as_str().starts_with("bad")),
                other => panic!("{key}: {other:?}"),
            }
        }
    }
    assert_eq!(metrics.store_up.with_label_values(&[store.name()]).get(), 1);
    assert_eq!(metrics.store_corrupt_links.get(), 20 * 5);

    let good: Vec<_> = keys.iter().map(ToString::to_string).filter(|key| key.starts_with("good")).collect();
    for limit in [1, 3, 100] {
        for order in [Order::Oldest, Order::Newest, Order::MostClicked] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = links.list(&Listing { order, after, limit, ..Listing::default() }).await.unwrap();
                assert!(page.records.len() == limit || page.next.is_none(), "only the last page is short");
                listed.extend(page.records.iter().map(|record| record.link.key.to_string()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            listed.sort_unstable();
            assert_eq!(listed, good, "{order:?}, {limit} a page");
        }
    }
    let listing = Listing { order: Order::Oldest, limit: 100, ..Listing::default() };
    let damaged = store.list(&listing).await.unwrap().damaged;
    let mut damaged: Vec<_> = damaged.iter().map(|damaged| damaged.key.as_str()).collect();
    damaged.sort_unstable();
    assert_eq!(damaged, ["bad00", "bad05", "bad10", "bad15", "bad19"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_links_affect_no_others_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&sqlite_in(directory.path())).await;
    put_twenty(&store).await;
    let file = rusqlite::Connection::open(directory.path().join("links.db")).unwrap();
    file.execute("UPDATE links SET doc = '{}' WHERE key LIKE 'bad%'", ()).unwrap();
    damaged_links_affect_no_others(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_links_affect_no_others_in_postgres() {
    let server = Postgres::start();
    let store = open(&server.url()).await;
    put_twenty(&store).await;
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url()).await.unwrap();
    let damage = "UPDATE links SET doc = '{}' WHERE key LIKE 'bad%'";
    sqlx::query(damage).execute(&mut admin).await.unwrap();
    damaged_links_affect_no_others(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_links_affect_no_others_in_redis() {
    let server = Redis::start();
    let store = open(&server.url()).await;
    put_twenty(&store).await;
    for kept in server.cli(&["KEYS", "urlshort:*:link:bad*"]).lines() {
        server.cli(&["HSET", kept.trim(), "doc", "{}"]);
    }
    damaged_links_affect_no_others(store).await;
}

/// Damages the daily counts of `bad`, then its visit limit. Visits to `good` must still be counted.
async fn a_damaged_count_or_limit_affects_no_other_link(
    store: Arc<dyn Store>,
    damage: impl AsyncFn(&'static str, &'static str),
) {
    let metrics = Arc::new(Metrics::new());
    let (links, clicks) = (uncached(store.clone(), metrics.clone()), Clicks::new(&metrics));
    let limit = || Options { max_visits: NonZeroU32::new(5), ..Options::default() };
    let both = ["bad", "good"].map(|text| with(limit(), link(text, "https://example.com")));
    let referrer = |host: &str| Visitor::Person { device: Device::Mobile, referrer: host.parse().ok() };
    for link in &both {
        assert!(store.put_if_absent(link.clone(), History::default()).await.unwrap());
        clicks.record(link, DAY, referrer("news.example"));
    }
    clicks.flush(&links).await;
    damage("day", "bad").await;
    both.iter().for_each(|link| clicks.record(link, DAY, referrer("news.example")));
    clicks.flush(&links).await;
    let good = store.day_counts(&key("good"), DAY, DAY).await.unwrap();
    assert_eq!(good[&DAY].people, 2, "the visit is counted although another can't be");
    assert_eq!((metrics.clicks_dropped.get(), metrics.clicks_pending.get()), (1, 0));

    damage("limit", "bad").await;
    for _ in 0..3 {
        let (bad, good) = (key("bad"), key("good"));
        let (bad, good) = tokio::join!(store.use_visit(&bad), store.use_visit(&good));
        assert!(bad.is_err() && good.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_count_or_limit_affects_no_other_link_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&sqlite_in(directory.path())).await;
    let file = directory.path().join("links.db");
    let damage = async |what: &str, key: &str| {
        let sql = match what {
            "day" => "UPDATE days SET referrers = '{' WHERE key = ?",
            _ => "UPDATE links SET doc = '{' WHERE key = ?",
        };
        assert_eq!(rusqlite::Connection::open(&file).unwrap().execute(sql, [key]).unwrap(), 1);
    };
    a_damaged_count_or_limit_affects_no_other_link(store, damage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_count_or_limit_affects_no_other_link_in_postgres() {
    let server = Postgres::start();
    let store = open(&server.url()).await;
    let damage = async |what: &str, key: &str| {
        let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url()).await.unwrap();
        let sql = match what {
            "day" => "UPDATE days SET referrers = '{' WHERE key = $1",
            _ => "UPDATE links SET doc = '{\"max_visits\": \"many\"}' WHERE key = $1",
        };
        assert_eq!(sqlx::query(sql).bind(key).execute(&mut admin).await.unwrap().rows_affected(), 1);
    };
    a_damaged_count_or_limit_affects_no_other_link(store, damage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_count_or_limit_affects_no_other_link_in_redis() {
    let server = Redis::start();
    let store = open(&server.url()).await;
    let damage = async |what: &str, key: &str| {
        let (kind, field, value) = match what {
            "day" => ("days", "20605p", "many"),
            _ => ("link", "doc", "{"),
        };
        let stored = server.cli(&["KEYS", &format!("urlshort:*:{kind}:{key}")]);
        assert_eq!(server.cli(&["HSET", stored.trim(), field, value]).trim(), "0", "the field existed");
    };
    a_damaged_count_or_limit_affects_no_other_link(store, damage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_skips_damaged_links_and_reports_them() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let store = open(&url).await;
    put_twenty(&store).await;
    store.close().await;
    let file = rusqlite::Connection::open(directory.path().join("links.db")).unwrap();
    file.execute("UPDATE links SET doc = '{}' WHERE key = 'bad05'", ()).unwrap();
    file.execute("UPDATE days SET people = -1 WHERE key = 'bad10'", ()).unwrap();
    drop(file);
    let output = directory.path().join("links.jsonl");
    let mut export = Process::command(&[("STORE_URL", &url)]);
    let ended = export.arg("export").arg("--output").arg(&output).output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("bad05: damaged") && stderr.contains("bad10: damaged"), "{stderr}");
    let expected = format!(
        "urlshort: exported 18 links to {}\nurlshort: 2 damaged links were not exported\n",
        output.display()
    );
    assert!(stderr.ends_with(&expected), "{stderr}");
    assert_eq!(fs::read_to_string(&output).unwrap().lines().count(), 18);
}

/// Overwrites the database page that contains `text`.
fn damage_page_with(file: &Path, text: &str) {
    const PAGE: usize = 4096;
    let bytes = fs::read(file).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[0xff; PAGE], (at / PAGE * PAGE) as u64).unwrap();
}

/// Returns two lists of keys: first the readable ones, then the unreadable ones.
fn partition_keys(file: &Path, count: usize) -> (Vec<String>, Vec<String>) {
    let database = rusqlite::Connection::open(file).unwrap();
    (0..count)
        .map(|n| format!("k{n}"))
        .partition(|key| database.query_row("SELECT doc FROM links WHERE key = ?", [key], |_| Ok(())).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_affects_no_links_on_other_pages() {
    const LINKS: usize = 500;
    let directory = tempfile::tempdir().unwrap();
    let (url, file) = (sqlite_in(directory.path()), directory.path().join("links.db"));
    let store = open(&url).await;
    let target = |n: usize| format!("https://{n}.example/{}", "x".repeat(200));
    let put = join_all(
        (0..LINKS).map(|n| store.put_if_absent(link(&format!("k{n}"), &target(n)), History::default())),
    )
    .await;
    assert!(put.into_iter().all(|put| put.unwrap()));
    store.close().await;
    damage_page_with(&file, &format!("\"target\":\"{}", target(250)));
    let (good, bad) = partition_keys(&file, LINKS);
    assert!(!bad.is_empty() && good.len() > LINKS * 9 / 10, "{bad:?}");

    let process = Process::start(&[("STORE_URL", &url), ("CACHE_BYTES", "0")]);
    let client = client();
    let stop = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (client.clone(), stop.clone());
            let urls: Vec<_> = bad.iter().map(|key| process.url(&format!("/{key}"))).collect();
            tokio::spawn(async move {
                for url in urls.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let status = client.get(url).send().await.unwrap().status();
                    assert!(status.is_server_error(), "{status}");
                }
            })
        })
        .collect();
    for key in &good {
        let status = client.get(process.url(&format!("/{key}"))).send().await.unwrap().status();
        assert_eq!(status, StatusCode::FOUND, "{key}");
    }
    let ready: Value = client.get(process.url("/readyz")).send().await.unwrap().json().await.unwrap();
    assert_eq!(ready["store"]["status"], "ok");
    stop.store(true, Ordering::Relaxed);
    join_all(attackers).await.into_iter().for_each(Result::unwrap);
}
