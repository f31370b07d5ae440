//! Purges by a running service and by `urlshort purge`.

use std::{path::Path, process::Output, sync::Arc, time::Duration};

use jiff::{Timestamp, ToSpan};
use reqwest::{Client, header};
use serde_json::json;
use urlshort::{
    link::{Link, options::Options},
    store::History,
};

use crate::support::{
    FaultyStore, Mood, PATIENCE, Postgres, Process, TestApp, client, eventually, key, link, open, sqlite_in,
    with,
};

fn expired(name: &str, ago: jiff::Span) -> Link {
    let options = Options { expires_at: Some(Timestamp::now() - ago), ..Options::default() };
    with(options, link(name, "https://old.example"))
}

/// Creates three links for a purge.
///
/// One expired long ago, one expired a second ago, and one has old daily counts.
async fn fill(url: &str) {
    let store = open(url).await;
    let days = json!({ "2020-01-01": { "people": 1 }, "2020-01-02": { "people": 2 } });
    let history = History { days: serde_json::from_value(days).unwrap(), ..History::default() };
    for (link, history) in [
        (expired("old", 1000.hours()), History::default()),
        (expired("lately", 1.second()), History::default()),
        (link("counted", "https://example.com"), history),
    ] {
        assert!(store.put_if_absent(link, history).await.unwrap());
    }
    store.close().await;
}

async fn status(client: &Client, url: String) -> u16 {
    client.get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_purges_on_its_own_and_logs_how_much() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    fill(&url).await;
    let retention = [("PURGE_EXPIRED_AFTER", "10s"), ("STATS_RETENTION", "30")];
    let process = Process::start(&[&[("STORE_URL", &*url)], &retention[..]].concat());
    let line = tokio::task::block_in_place(|| process.wait_for_log("purged"));
    // By now, the `lately` link may also have expired long enough ago.
    assert!(line["links"].as_u64().unwrap() >= 1, "{line}");
    assert_eq!(line["day_counts"], 2);
    let client = client();
    let scrape = client.get(process.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(scrape.contains("\npurged_day_counts_total 2\n"), "{scrape}");
    let last_run = scrape.lines().find_map(|line| line.strip_prefix("purge_last_run_timestamp_seconds "));
    let last_run: f64 = last_run.unwrap().parse().unwrap();
    assert!(last_run > 1.6e9, "{last_run}");
    assert_eq!(status(&client, process.url("/old")).await, 404);
    assert_eq!(status(&client, process.url("/counted")).await, 302);
    let again = json!({ "url": "https://new.example", "key": "old" });
    let created = client.post(process.url("/shorten")).json(&again).send().await.unwrap();
    assert_eq!(created.status(), 201, "the key is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_key_is_free_on_every_instance() {
    let server = Postgres::start();
    let url = server.url();
    let store = open(&url).await;
    assert!(store.put_if_absent(expired("old", 1.second()), History::default()).await.unwrap());
    store.close().await;
    let other = Process::start(&[("STORE_URL", &url), ("CACHE_TTL", "1h")]);
    let client = client();
    assert_eq!(status(&client, other.url("/old")).await, 410, "the link is cached from here on");
    let purging = Process::start(&[("STORE_URL", &url), ("PURGE_EXPIRED_AFTER", "1s")]);
    eventually(PATIENCE, async || match status(&client, other.url("/old")).await {
        404 => Ok(()),
        status => Err(status),
    })
    .await;
    let again = json!({ "url": "https://new.example", "key": "old" });
    let created = client.post(purging.url("/shorten")).json(&again).send().await.unwrap();
    assert_eq!(created.status(), 201);
    eventually(PATIENCE, async || {
        let response = client.get(other.url("/old")).send().await.unwrap();
        match response.headers().get(header::LOCATION) {
            Some(location) if location == "https://new.example/" => Ok(()),
            _ => Err(response.status()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_failed_purge_is_caught_up_by_the_next_one() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store.clone(), &["--purge-expired-after", "1s"]).await;
    let mut old = link("old", "https://example.com");
    old.doc.options.expires_at = Some(app.now() - 1.hour());
    assert!(app.links.put_if_absent(old, History::default()).await.unwrap());
    store.set_mood(Mood::Broken);
    app.wait_for_metric(r#"store_errors_total{operation="search",store="faulty"}"#, |errors| errors > 0.0)
        .await;
    assert_eq!(app.metric("purged_links_total"), Some(0.0));
    assert_eq!(app.metric("purge_last_run_timestamp_seconds"), Some(0.0));
    store.set_mood(Mood::Fine);
    app.wait_for_metric("purged_links_total", |links| links == 1.0).await;
    app.wait_for_metric("purge_last_run_timestamp_seconds", |time| time > 0.0).await;
}

#[tokio::test(start_paused = true)]
async fn without_retention_options_nothing_is_deleted() {
    let store = Arc::new(FaultyStore::default());
    let app = TestApp::start_on(store, &[]).await;
    let mut old = link("old", "https://example.com");
    old.doc.options.expires_at = Some(app.now() - 100_000.hours());
    assert!(app.links.put_if_absent(old, History::default()).await.unwrap());
    // The clock is paused, so this sleep takes no real time.
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(app.metric("purge_last_run_timestamp_seconds"), Some(0.0));
    assert!(app.links.get(&key("old")).await.unwrap().is_some());
}

fn purge(url: &str, arguments: &[&str]) -> Output {
    Process::command(&[("STORE_URL", url)]).arg("purge").args(arguments).output().unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_what_it_would_delete_and_deletes_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    fill(&url).await;
    let options = ["--purge-expired-after", "10h", "--stats-retention", "30"];
    let would = printed(&purge(&url, &[&options[..], &["--dry-run"]].concat()));
    let (first, rest) = would.split_once('\n').unwrap();
    assert!(first.starts_with("old expired 20"), "{would}");
    assert_eq!(rest, "1 link and 2 days of statistics to remove\n");
    assert_eq!(printed(&purge(&url, &options)), "1 link and 2 days of statistics removed\n");
    assert_eq!(printed(&purge(&url, &options)), "0 links and 0 days of statistics removed\n");
    let process = Process::start(&[("STORE_URL", &url)]);
    for (path, expected) in [("/old", 404), ("/lately", 410), ("/counted", 302)] {
        assert_eq!(status(&client(), process.url(path)).await, expected, "{path}");
    }
}

#[test]
fn the_command_refuses_to_run_without_an_option_or_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let missing = sqlite_in(directory.path());
    for (url, arguments, status, reason) in [
        (&*missing, &[][..], 2, "purge removes nothing without PURGE_EXPIRED_AFTER"),
        (&missing, &["--stats-retention", "0"], 2, "STATS_RETENTION"),
        (&missing, &["--stats-retention", "1"], 1, "there is no file"),
        ("memory:", &["--stats-retention", "1"], 1, "lives inside the running service"),
    ] {
        let output = purge(url, arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}");
        assert!(line.contains(reason), "{line}");
        assert!(!Path::new(url.trim_start_matches("sqlite:")).exists());
    }
}
