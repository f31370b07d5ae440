//! Several instances sharing one store.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::{StatusCode, header};
use serde_json::Value;
use urlshort::{
    link::{Link, Revision},
    store::{Change, History},
};

use crate::support::{
    FaultyStore, PATIENCE, Postgres, Process, Redis, RedisCluster, TestApp, eventually, key, link, open,
};

/// The time within which an edit must be visible on every instance.
const SOON: Duration = Duration::from_secs(1);

/// Generates a test for each combination of function and kind of server.
macro_rules! on_each_server {
    ($($name:ident)*) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let server = super::Postgres::start();
                super::$name(&server.url()).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let server = super::Redis::start();
                super::$name(&server.url()).await;
            })*
        }
    };
}

on_each_server! {
    a_link_created_on_one_instance_redirects_on_the_others_immediately
    an_edit_or_deletion_shows_on_the_other_instances_within_a_second
    without_the_change_feed_an_edit_shows_after_the_cache_lifetime
    counter_keys_are_unique_across_instances_even_if_one_is_killed
}

async fn three_instances(url: &str) -> [TestApp; 3] {
    let start = async || TestApp::start_on(open(url).await, &[]).await;
    [start().await, start().await, start().await]
}

/// Returns the target to which an instance redirects `key`, if any.
async fn location(app: &TestApp, key: &str) -> Option<String> {
    let response = app.get(&format!("/{key}")).await;
    match response.status() {
        StatusCode::FOUND => Some(response.headers()[header::LOCATION].to_str().unwrap().to_owned()),
        StatusCode::NOT_FOUND => None,
        other => panic!("{other}"),
    }
}

/// Waits until all instances redirect `key` to `expected`, and returns how long that took.
async fn time_until_all_redirect(apps: &[TestApp], key: &str, expected: Option<&str>) -> Duration {
    let start = Instant::now();
    for app in apps {
        eventually(PATIENCE, async || {
            let location = location(app, key).await;
            if location.as_deref() == expected { Ok(()) } else { Err((key, location, expected)) }
        })
        .await;
    }
    start.elapsed()
}

async fn a_link_created_on_one_instance_redirects_on_the_others_immediately(url: &str) {
    let apps = three_instances(url).await;
    for creator in &apps {
        let key = creator.shorten_url("https://example.com/made").await;
        for app in &apps {
            assert_eq!(location(app, &key).await.as_deref(), Some("https://example.com/made"));
        }
    }
}

async fn an_edit_or_deletion_shows_on_the_other_instances_within_a_second(url: &str) {
    let apps = three_instances(url).await;
    assert!(
        apps[0].links.put_if_absent(link("k", "https://example.com/1"), History::default()).await.unwrap()
    );
    // An instance that has seen a change is known to be listening for further changes.
    for version in 1..10 {
        time_until_all_redirect(&apps, "k", Some(&format!("https://example.com/{version}"))).await;
        let edited =
            Link { version: version + 1, ..link("k", &format!("https://example.com/{}", version + 1)) };
        let editor = &apps[version as usize % 3];
        assert_eq!(editor.links.update(edited, version).await.unwrap(), Change::Done);
        let new = format!("https://example.com/{}", version + 1);
        assert_eq!(location(editor, "k").await.as_deref(), Some(&*new), "immediately where it was created");
        let took = time_until_all_redirect(&apps, "k", Some(&new)).await;
        assert!(took < SOON, "edit {version} took {took:?}");
    }
    let last = Revision { version: 10, ..link("k", "https://example.com").revision() };
    assert_eq!(apps[1].links.delete(&key("k"), last).await.unwrap(), Change::Done);
    let took = time_until_all_redirect(&apps, "k", None).await;
    assert!(took < SOON, "the deletion took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_on_a_cluster_shows_on_the_other_instances_within_a_second() {
    let cluster = RedisCluster::start();
    an_edit_or_deletion_shows_on_the_other_instances_within_a_second(&cluster.url()).await;
}

async fn without_the_change_feed_an_edit_shows_after_the_cache_lifetime(url: &str) {
    let lifetime = Duration::from_secs(3);
    // This instance receives no change notifications.
    let isolated =
        TestApp::start_on(Arc::new(FaultyStore::around(open(url).await)), &["--cache-ttl", "3s"]).await;
    let editor = TestApp::start_on(open(url).await, &[]).await;
    assert!(
        editor.links.put_if_absent(link("k", "https://example.com/old"), History::default()).await.unwrap()
    );
    assert_eq!(location(&isolated, "k").await.as_deref(), Some("https://example.com/old"));
    let edited = Link { version: 2, ..link("k", "https://example.com/new") };
    assert_eq!(editor.links.update(edited, 1).await.unwrap(), Change::Done);
    assert_eq!(
        location(&isolated, "k").await.as_deref(),
        Some("https://example.com/old"),
        "it was not notified"
    );
    let took = time_until_all_redirect(&[isolated], "k", Some("https://example.com/new")).await;
    assert!(took < lifetime + SOON, "{took:?}");
}

async fn counter_keys_are_unique_across_instances_even_if_one_is_killed(url: &str) {
    const CREATES: usize = 10_000;
    const WRITERS: usize = 48;
    // The instances open many connections at the same time, which is slow on a busy machine.
    let patience = [("STORE_TIMEOUT", "60s"), ("REQUEST_TIMEOUT", "60s")];
    let start =
        || Process::start(&[("STORE_URL", url), ("KEY_STRATEGY", "counter"), patience[0], patience[1]]);
    let mut processes = vec![start(), start(), start()];
    let urls: Arc<Vec<_>> = Arc::new(processes.iter().map(|process| process.url("/shorten")).collect());
    let created = Arc::new(AtomicUsize::new(0));
    let client = reqwest::Client::new();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (urls, created, client) = (urls.clone(), created.clone(), client.clone());
            tokio::spawn(async move {
                let mut keys = Vec::new();
                let mut instance = writer % 3;
                while created.load(Ordering::Relaxed) < CREATES {
                    let request = client.post(&urls[instance]).form(&[("url", "https://example.com")]);
                    // If the instance has stopped, use the next one.
                    let Ok(response) = request.send().await else {
                        instance = (instance + 1) % 3;
                        continue;
                    };
                    assert_eq!(response.status(), 201);
                    let Ok(link) = response.json::<Value>().await else { continue };
                    keys.push(link["key"].as_str().unwrap().to_owned());
                    created.fetch_add(1, Ordering::Relaxed);
                }
                keys
            })
        })
        .collect();
    eventually(PATIENCE * 2, async || {
        let created = created.load(Ordering::Relaxed);
        if created < CREATES / 3 { Err(created) } else { Ok(()) }
    })
    .await;
    processes.remove(0).kill();
    let keys: Vec<_> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(keys.len() >= CREATES);
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key was used twice");
}

/// A lost LISTEN connection is replaced, and changes missed in the meantime are picked up.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_reconnects_after_its_connection_is_terminated() {
    let server = Postgres::start();
    let apps = three_instances(&server.url()).await;
    assert!(
        apps[0].links.put_if_absent(link("k", "https://example.com/1"), History::default()).await.unwrap()
    );
    for version in 1..4 {
        time_until_all_redirect(&apps, "k", Some(&format!("https://example.com/{version}"))).await;
        let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url()).await.unwrap();
        let listeners = "FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'";
        let count = format!("SELECT count(*) {listeners}");
        let all_listen = async || {
            let listening: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(count.clone())).fetch_one(&mut admin).await.unwrap();
            if listening == 3 { Ok(()) } else { Err(listening) }
        };
        eventually(PATIENCE, all_listen).await;
        let end_listeners = format!("SELECT pg_terminate_backend(pid) {listeners}");
        sqlx::query(sqlx::AssertSqlSafe(end_listeners)).fetch_all(&mut admin).await.unwrap();
        let edited =
            Link { version: version + 1, ..link("k", &format!("https://example.com/{}", version + 1)) };
        assert_eq!(apps[0].links.update(edited, version).await.unwrap(), Change::Done);
        let took =
            time_until_all_redirect(&apps, "k", Some(&format!("https://example.com/{}", version + 1))).await;
        assert!(took < SOON + SOON, "{took:?}");
    }
}
