//! The file that SQLite keeps links in, and the descriptors that it needs.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt};

use reqwest::{Client, redirect::Policy};
use serde_json::json;

use crate::support::{PATIENCE, Process, eventually, sqlite_in};

#[test]
fn the_file_of_another_application_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("links.db");
    let music = rusqlite::Connection::open(&file).unwrap();
    music.execute_batch("CREATE TABLE music (title TEXT); INSERT INTO music VALUES ('So What')").unwrap();
    drop(music);
    let before = fs::read(&file).unwrap();
    let output = Process::command(&[("STORE_URL", &sqlite_in(directory.path()))]).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("the database of another application"), "{line}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_new_database_is_readable_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_after("umask 022", &[("STORE_URL", &sqlite_in(directory.path()))]);
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert!(process.terminate().success());
}

#[tokio::test]
async fn without_its_file_the_store_takes_no_links_and_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("STORE_URL", &*sqlite_in(directory.path()))];
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let create = async |process: &Process, n: usize| {
        let request = client.post(process.url("/shorten"));
        let request = request.json(&json!({ "url": format!("https://{n}.example"), "key": format!("k{n}") }));
        request.send().await.unwrap().status().as_u16()
    };
    let ready = async |process: &Process| {
        let response = client.get(process.url("/readyz")).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let process = Process::start(&variables);
    assert_eq!(create(&process, 1).await, 201);
    assert_eq!(client.get(process.url("/k1")).send().await.unwrap().status(), 302);
    let path = directory.path().join("links.db");
    for gone in [(|path| fs::remove_file(path).unwrap()) as fn(&std::path::Path), |path| {
        fs::write(path, "another file").unwrap()
    }] {
        gone(&path);
        assert_eq!(create(&process, 2).await, 503);
        let (status, body) = ready(&process).await;
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("the database file"), "{body}");
        assert_eq!(client.get(process.url("/k1")).send().await.unwrap().status(), 302, "it is in memory");
    }
}

#[tokio::test]
async fn with_no_descriptor_left_for_connections_links_are_still_made() {
    const DESCRIPTORS: usize = 64;
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    // Behind a proxy, one address may take all connections.
    let variables = [("STORE_URL", &*url), ("HEADER_TIMEOUT", "1h"), ("TRUSTED_PROXIES", "1")];
    drop(Process::start(&variables));
    let process = Process::start_after(&format!("ulimit -n {DESCRIPTORS}"), &variables);
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    // This connection stays open.
    assert_eq!(client.get(process.url("/healthz")).send().await.unwrap().status(), 200);
    let _crowd: Vec<_> = (0..DESCRIPTORS).map(|_| TcpStream::connect(&process.address).unwrap()).collect();
    // Half of the descriptors are for connections.
    let full = format!("http_connections_open {}\n", DESCRIPTORS / 2);
    eventually(PATIENCE, async || {
        let metrics = client.get(process.url("/metrics")).send().await.unwrap().text().await.unwrap();
        if metrics.contains(&full) { Ok(()) } else { Err(metrics) }
    })
    .await;
    for n in 0..20 {
        let create = client.post(process.url("/shorten"));
        let create = create.json(&json!({ "url": "https://example.com", "key": format!("k{n}") }));
        assert_eq!(create.send().await.unwrap().status(), 201);
        assert_eq!(client.get(process.url(&format!("/k{n}"))).send().await.unwrap().status(), 302);
        assert_eq!(client.get(process.url(&format!("/none-{n}"))).send().await.unwrap().status(), 404);
    }
}
