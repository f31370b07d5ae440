//! The journal in which a SQLite store keeps large batches of clicks until it adds them to the counts.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use rusqlite::Connection;
use serde_json::Value;
use urlshort::{
    clicks::Tally,
    store::{History, Store},
};

use crate::{
    store::tally,
    support::{PATIENCE, Process, client, eventually, key, link, open, sqlite_in},
};

/// More than a store adds to the counts directly.
const LINKS: usize = 1000;

fn file(directory: &Path) -> Connection {
    Connection::open(directory.join("links.db")).unwrap()
}

/// Returns the number of batches in the journal.
fn batches(directory: &Path) -> usize {
    let count = "SELECT count(*) FROM secrets WHERE name LIKE 'clicks-1/%'";
    file(directory).query_row(count, (), |row| row.get(0)).unwrap()
}

/// Returns the number of links with counts, and their lowest and highest count. Checks that the journal is empty.
fn counts(directory: &Path) -> (usize, u64, u64) {
    let file = file(directory);
    let rest: usize = file
        .query_row("SELECT count(*) FROM secrets WHERE name LIKE 'clicks%'", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rest, 0, "rows of the journal");
    let days: u64 = file.query_row("SELECT sum(people) FROM days", (), |row| row.get(0)).unwrap();
    let (links, min, max, sum): (usize, u64, u64, u64) = file
        .query_row("SELECT count(*), min(clicks), max(clicks), sum(clicks) FROM counts", (), |row| {
            row.try_into()
        })
        .unwrap();
    assert_eq!(days, sum);
    (links, min, max)
}

fn name(number: usize) -> String {
    format!("k{number:04}")
}

async fn put_links(store: &Arc<dyn Store>) {
    let put =
        (0..LINKS).map(|n| store.put_if_absent(link(&name(n), "https://example.com"), History::default()));
    assert!(join_all(put).await.into_iter().all(|put| put.unwrap()));
}

/// Returns one visit by a person for each link.
fn visits() -> Vec<Tally> {
    (0..LINKS).map(|n| tally(&name(n), 1, r#"{"people":1,"devices":{"mobile":1}}"#)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_before_a_merge_counts_every_written_click_once() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let store = open(&url).await;
    put_links(&store).await;
    store.close().await;

    // The requests span at most two flushes, so that one of them is large.
    let process = Process::start(&[("STORE_URL", &url), ("FLUSH_INTERVAL", "10s")]);
    let client = client();
    let visits = stream::iter(0..LINKS).for_each_concurrent(32, |n| {
        let request = client.get(process.url(&format!("/{}", name(n))));
        async { assert_eq!(request.send().await.unwrap().status(), 302) }
    });
    visits.await;
    let written = format!("\nclicks_written_total {LINKS}\n");
    eventually(PATIENCE, async || {
        let metrics = client.get(process.url("/metrics")).send().await.unwrap().text().await.unwrap();
        if metrics.contains(&written) { Ok(()) } else { Err(written.clone()) }
    })
    .await;
    process.kill();
    assert_ne!(batches(directory.path()), 0, "the clicks are in the journal");

    let token = "a-token-of-16-bytes";
    let process = Process::start(&[("STORE_URL", &url), ("API_TOKENS", &format!("me:{token}"))]);
    let list = client.get(process.url("/api/v1/links?sort=most_clicked&limit=1")).bearer_auth(token);
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!(list["links"][0]["clicks"], 1, "a listing waits for the merge");
    assert!(process.terminate().success());
    assert_eq!(counts(directory.path()), (LINKS, 1, 1));
}

/// Runs on a clock that skips the time until the merge and the pauses in it.
#[tokio::test(start_paused = true)]
async fn a_large_batch_is_merged_some_time_later() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&sqlite_in(directory.path())).await;
    put_links(&store).await;
    store.add_clicks(visits()).await.unwrap();
    assert_eq!(batches(directory.path()), 1);
    // `eventually` would measure its limit on the skipping clock.
    let start = Instant::now();
    while batches(directory.path()) > 0 {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(counts(directory.path()), (LINKS, 1, 1));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_merge_at_the_same_time_count_each_click_once() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let mut store = open(&url).await;
    put_links(&store).await;
    for round in 1..=10 {
        for _ in 0..5 {
            assert_eq!(store.add_clicks(visits()).await.unwrap().len(), 0);
        }
        let (other, ()) = tokio::join!(open(&url), store.close());
        // This waits for the merge.
        other.get(&key(&name(0))).await.unwrap();
        assert_eq!(counts(directory.path()), (LINKS, 5 * round, 5 * round));
        store = other;
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_that_a_damaged_row_keeps_from_being_merged_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let store = open(&url).await;
    put_links(&store).await;
    let mut visits = visits();
    let referrers = r#"{"people":3,"devices":{"mobile":3},"referrers":{"news.example":3}}"#;
    visits[500] = tally(&name(500), 1, referrers);
    store.add_clicks(vec![visits[500].clone()]).await.unwrap();
    file(directory.path()).execute("UPDATE days SET referrers = '{' WHERE key = ?", [name(500)]).unwrap();

    store.add_clicks(visits).await.unwrap();
    assert_eq!((batches(directory.path()), store.take_lost_clicks()), (1, 0));
    store.close().await;
    assert_eq!((batches(directory.path()), store.take_lost_clicks()), (0, 3));
    assert_eq!(counts(directory.path()), (LINKS, 1, 3), "all other visits are counted");
}
