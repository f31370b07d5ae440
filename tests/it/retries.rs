//! Store calls that are retried after a conflict or a lost response.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::civil::date;
use tokio::join;
use urlshort::{
    clicks::{DayCounts, Tally},
    config::StoreOptions,
    store::{self, History},
};

use crate::support::{Forwarder, PATIENCE, Postgres, Redis, eventually, free_port, key, link};

/// A transaction that conflicts with others is retried without the caller noticing.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_between_transactions_are_retried() {
    let server = Postgres::start_with(|_| vec!["default_transaction_isolation=serializable".into()]);
    // On a machine that is busy with other tests, a call may need many attempts.
    let store_timeout = PATIENCE;
    let open = async || {
        store::open(&StoreOptions { store_timeout, ..StoreOptions::new(server.url().parse().unwrap()) })
            .await
            .unwrap()
    };
    let (one, other) = (open().await, open().await);
    let link = link("k", "https://example.com");
    assert!(one.put_if_absent(link.clone(), History::default()).await.unwrap());
    let (key, created_at, day) = (link.key, link.created_at, date(2026, 6, 1));
    let counts = DayCounts { people: 1, ..DayCounts::default() };
    let both = [&one, &other].map(|store| {
        let (key, counts) = (&key, &counts);
        let visit = async move || {
            for _ in 0..50 {
                assert!(store.use_visit(key).await.unwrap());
            }
        };
        let count = async move || {
            for _ in 0..50 {
                let tally = Tally { key: key.clone(), created_at, day, counts: counts.clone() };
                store.add_clicks(vec![tally]).await.unwrap();
            }
        };
        async move { join!(visit(), visit(), count()) }
    });
    join_all(both).await;
    let record = one.get(&key).await.unwrap().unwrap();
    assert_eq!((record.visits, record.clicks), (200, 100));
}

/// The server counts a visit, but its response is lost, so the cluster client retries.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_is_sent_again_to_a_cluster_is_counted_once() {
    let forwarder = Forwarder::start(0).await;
    let announced = forwarder.port.to_string();
    let bus = free_port().to_string();
    let server = Redis::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-announce-ip",
        "127.0.0.1",
        "--cluster-announce-port",
        &announced,
    ]);
    forwarder.move_to(server.port);
    server.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually(PATIENCE, async || {
        let info = server.cli(&["CLUSTER", "INFO"]);
        if info.contains("cluster_state:ok") { Ok(()) } else { Err(info) }
    })
    .await;
    let url = forwarder.replace_in(&server.url(), server.port);
    let store_timeout = Duration::from_secs(10);
    let store = store::open(&StoreOptions { store_timeout, ..StoreOptions::new(url.parse().unwrap()) })
        .await
        .unwrap();
    let key = key("k");
    assert!(store.put_if_absent(link("k", "https://example.com"), History::default()).await.unwrap());
    assert!(store.use_visit(&key).await.unwrap(), "the server has the script");
    let stored = server.cli(&["KEYS", "urlshort:*:link:k"]);
    let visits = || server.cli(&["HGET", stored.trim(), "visits"]).trim().to_owned();
    assert_eq!(visits(), "1");

    forwarder.hold_responses(true);
    let visit = tokio::spawn({
        let (store, key) = (store.clone(), key.clone());
        async move { store.use_visit(&key).await }
    });
    eventually(PATIENCE, async || if visits() == "2" { Ok(()) } else { Err(visits()) }).await;
    forwarder.cut();
    forwarder.hold_responses(false);
    assert!(visit.await.unwrap().unwrap());
    assert_eq!(visits(), "2");
}
