//! Recovery from crashes and full disks.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Process, client, eventually, sqlite_in};

/// Checks the integrity of the store's file, and returns its links.
fn links_in(directory: &Path) -> HashMap<String, String> {
    let file = rusqlite::Connection::open(directory.join("links.db")).unwrap();
    let verdict: String = file.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let mut links = file.prepare("SELECT key, doc ->> 'target' FROM links").unwrap();
    links.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_under_32_writers_keeps_every_acknowledged_link() {
    const ROUNDS: usize = 20;
    const WRITERS: usize = 32;
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite_in(directory.path());
    let mut rng = StdRng::seed_from_u64(20);
    let mut acknowledged = HashMap::new();
    for round in 0..ROUNDS {
        let process = Process::start(&[("STORE_URL", &store)]);
        let count = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (url, count, client) = (process.url("/shorten"), count.clone(), client());
                tokio::spawn(async move {
                    let mut links = Vec::new();
                    for number in 0.. {
                        let (key, target) =
                            (format!("{round}-{writer}-{number}"), format!("https://{number}.example/"));
                        let body = json!({ "key": key, "url": target });
                        match client.post(&url).json(&body).send().await {
                            Ok(response) => assert_eq!(response.status(), 201),
                            Err(_) => break,
                        }
                        links.push((key, target));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    links
                })
            })
            .collect();
        let moment = rng.random_range(1..500);
        eventually(PATIENCE, async || {
            let count = count.load(Ordering::Relaxed);
            if count < moment { Err(count) } else { Ok(()) }
        })
        .await;
        process.kill();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
    }
    let process = Process::start(&[("STORE_URL", &store)]);
    let found = links_in(directory.path());
    for (key, target) in &acknowledged {
        assert_eq!(found.get(key), Some(target), "{key} was acknowledged");
    }
    for (key, target) in &found {
        let number = key.rsplit('-').next().unwrap();
        assert_eq!(target, &format!("https://{number}.example/"), "{key} has the requested target");
    }
    for (key, target) in acknowledged.iter().take(500) {
        let response = client().get(process.url(&format!("/{key}"))).send().await.unwrap();
        assert_eq!(response.headers()[header::LOCATION], target.as_str());
    }
    assert!(acknowledged.len() >= ROUNDS);
}

/// The disk appears full because `ulimit` stops files from growing past a megabyte or two.
#[tokio::test]
async fn on_a_full_disk_creates_get_a_503_and_no_acknowledged_link_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite_in(directory.path());
    let variables = [("STORE_URL", store.as_str())];
    let process = Process::start_after("trap '' XFSZ; ulimit -f 2000", &variables);
    let client = client();
    let shorten = async |process: &Process, number: usize| {
        let url = format!("https://{number}.example/{}", "x".repeat(1000));
        let response =
            client.post(process.url("/shorten")).json(&json!({ "url": url })).send().await.unwrap();
        let status = response.status();
        (status, response.json::<Value>().await.unwrap(), url)
    };
    let mut acknowledged = Vec::new();
    let refusal = loop {
        match shorten(&process, acknowledged.len()).await {
            (StatusCode::CREATED, link, url) => {
                acknowledged.push((link["key"].as_str().unwrap().to_owned(), url))
            }
            (status, body, _) => break (status, body),
        }
        assert!(acknowledged.len() < 10_000, "the disk does not fill up");
    };
    assert_eq!((refusal.0.as_u16(), &refusal.1["code"]), (503, &json!("store_unavailable")));
    let mut lines = std::iter::from_fn(|| process.next_log_line());
    let logged = lines.find(|line| line["level"] == "ERROR" && line["msg"] == "request").unwrap();
    assert_eq!(logged["status"], 503);
    assert!(logged["error"].as_str().unwrap().starts_with("the store failed: "), "{logged}");

    for (key, url) in &acknowledged {
        let response = client.get(process.url(&format!("/{key}"))).send().await.unwrap();
        assert_eq!(response.headers()[header::LOCATION], url.as_str(), "existing links still redirect");
    }
    process.kill();
    let process = Process::start(&variables);
    let (status, ..) = shorten(&process, 0).await;
    assert_eq!(status, StatusCode::CREATED, "with free space, links can be created again");
    let found = links_in(directory.path());
    assert!(acknowledged.iter().all(|(key, url)| found.get(key) == Some(url)));
    assert!(acknowledged.len() > 10);
}
