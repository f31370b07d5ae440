//! Exporting links and importing them again restores everything, in every kind of store.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use urlshort::{
    clicks::Tally,
    config::PolicyOptions,
    link::{Key, Link},
    policy::TargetPolicy,
    store::{History, Store, memory::MemoryStore},
    transfer::{
        Format,
        export::export,
        import::{Importer, Outcome},
        reader,
    },
};

use super::{counts, exported, fill, import, open};
use crate::support::{Postgres, Redis, key, link, sqlite_in};

/// Exports the links, wipes the store, imports the links, and exports them again.
async fn a_round_trip_restores_everything(url: &str, wipe: impl AsyncFnOnce()) {
    let store = open(url).await;
    fill(&*store).await;
    store.close().await;
    let before = exported(url);
    assert_eq!(before.lines().count(), 3002);
    let expected = json!({
        "key": "-full", "created_by": "anna", "target": format!("https://example.com/{}", "x".repeat(2000)),
        "created_at": "2026-01-02T03:04:05.678Z", "expires_at": "2999-12-31T23:59:59.999Z", "max_visits": 10,
        "needs": 1, "starts_at": "2026-02-03T04:05:06.000Z",
        "taken_down_at": "1969-12-31T23:59:59.999Z", "redirect": 308, "forward_query": true, "gone_url": "https://gone.example/",
        "title": "=Ünïcode, \"title\" 😀", "tags": ["b tag", "ä"],
        "password": "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "version": 7, "visits": 6, "undated_clicks": 10,
        "days": {
            "2026-06-01": {"people": 3, "bots": 5, "devices": {"mobile": 2, "other": 1}},
            "2026-06-02": {"people": 4, "referrers": {"news.example": 4}},
        },
    });
    let full = before.lines().find(|line| line.contains("-full")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(full).unwrap(), expected);

    wipe().await;
    assert_eq!(
        import(url, before.as_bytes(), &[]),
        (0, "3002 added, 0 already there, 0 skipped".into(), String::new())
    );
    assert!(exported(url) == before, "both exports are the same, byte for byte");
    assert_eq!(import(url, before.as_bytes(), &[]).1, "0 added, 3002 already there, 0 skipped");
    assert!(exported(url) == before, "a second import changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_restores_everything_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let wipe = async || {
        for file in fs::read_dir(directory.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    };
    a_round_trip_restores_everything(&sqlite_in(directory.path()), wipe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_restores_everything_in_postgres() {
    let server = Postgres::start();
    let url = server.url();
    let wipe = async || {
        let mut database = PgConnection::connect(&url).await.unwrap();
        sqlx::query("DROP SCHEMA public CASCADE").execute(&mut database).await.unwrap();
        sqlx::query("CREATE SCHEMA public").execute(&mut database).await.unwrap();
    };
    a_round_trip_restores_everything(&url, wipe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_restores_everything_in_redis() {
    let server = Redis::start();
    let wipe = async || drop(server.cli(&["FLUSHALL"]));
    a_round_trip_restores_everything(&server.url(), wipe).await;
}

/// No other process can reach a memory store, so this test calls the export and import functions itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_restores_everything_in_memory() {
    let written = async |store: &MemoryStore| {
        let mut lines = Vec::new();
        let format = Format::Jsonl;
        export(store, format, Timestamp::UNIX_EPOCH, &mut lines, |_| ()).await.unwrap();
        String::from_utf8(lines).unwrap()
    };
    let (first, second) = (MemoryStore::default(), Arc::new(MemoryStore::default()));
    fill(&first).await;
    let before = written(&first).await;
    let mut rows = Vec::new();
    let take = |row| {
        rows.push(row);
        Ok(())
    };
    reader::read(before.as_bytes(), Format::Auto, Timestamp::UNIX_EPOCH, take).unwrap();
    let importer = Importer {
        store: second.clone(),
        reserved: ["k7".to_owned()].into(),
        policy: TargetPolicy::new(&PolicyOptions::default(), Arc::default()).unwrap(),
        base_url: None,
        dry_run: false,
    };
    let outcomes = importer.import(rows).await.unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Added).count(), 3001);
    let expected: Vec<_> = before.lines().filter(|line| !line.contains("\"k7\"")).collect();
    assert_eq!(written(&second).await.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_during_an_export_are_not_exported_as_undated() {
    let store = Arc::new(MemoryStore::default());
    let one = counts(1, r#"{"people":1}"#);
    let keys: Vec<_> = (0..500).map(|n| key(&format!("k{n}"))).collect();
    let history = History { undated_clicks: 10, days: [one.clone()].into(), ..History::default() };
    for key in &keys {
        let link = link(key.as_str(), "https://example.com");
        assert!(store.put_if_absent(link, history.clone()).await.unwrap());
    }
    let clicking = Arc::new(AtomicBool::new(true));
    let clicker = tokio::spawn({
        let (store, clicking) = (store.clone(), clicking.clone());
        async move {
            let tally = |key: &Key| {
                let Link { key, created_at, .. } = link(key.as_str(), "https://example.com");
                Tally { key, created_at, day: one.0, counts: one.1.clone() }
            };
            for key in keys.iter().cycle().take_while(|_| clicking.load(Ordering::Relaxed)) {
                store.add_clicks(vec![tally(key)]).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..20 {
        let mut lines = Vec::new();
        let exported = export(&*store, Format::Jsonl, Timestamp::UNIX_EPOCH, &mut lines, |_| ()).await;
        assert_eq!(exported.unwrap(), 500);
        let undated = "\"undated_clicks\":10,";
        assert!(String::from_utf8(lines).unwrap().lines().all(|line| line.contains(undated)));
    }
    clicking.store(false, Ordering::Relaxed);
    clicker.await.unwrap();
}
