//! Damaged values in Redis, and responses from Redis that arrive late.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::civil::{Date, date};
use urlshort::{
    clicks::{Clicks, DayCounts, Device, Tally, Visitor},
    config::StoreOptions,
    link::options::Options,
    observability::metrics::Metrics,
    store::{self, History, Store, StoreError},
};

use crate::support::{PATIENCE, Redis, RemoteServer, eventually, key, link, uncached, with};

const DAY: Date = date(2026, 6, 1);

async fn open(server: &Redis, deadline: Duration) -> Arc<dyn Store> {
    let store_timeout = deadline;
    store::open(&StoreOptions { store_timeout, ..StoreOptions::new(server.url().parse().unwrap()) })
        .await
        .unwrap()
}

/// Returns the Redis key of a link's data.
///
/// `kind` is `link` for the link itself, or `days` for its daily counts.
fn stored(server: &Redis, kind: &str, key: &str) -> String {
    server.cli(&["KEYS", &format!("urlshort:*:{kind}:{key}")]).trim().to_owned()
}

fn person(device: Device) -> Visitor {
    Visitor::Person { device, referrer: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_count_does_not_affect_other_counts() {
    let server = Redis::start();
    let store = open(&server, PATIENCE).await;
    let metrics = Arc::new(Metrics::new());
    let (links, clicks) = (uncached(store.clone(), metrics.clone()), Clicks::new(&metrics));
    let link = link("k", "https://example.com");
    assert!(store.put_if_absent(link.clone(), History::default()).await.unwrap());
    let visit = || {
        for device in [Device::Desktop, Device::Mobile, Device::Tablet, Device::Other] {
            clicks.record(&link, DAY, person(device));
        }
    };
    visit();
    clicks.flush(&links).await;
    let days = stored(&server, "days", "k");
    server.cli(&["HSET", &days, "20605dmobile", "many"]);
    visit();
    clicks.flush(&links).await;
    assert_eq!(metrics.clicks_dropped.get(), 4);
    assert_eq!(store.get(&key("k")).await.unwrap().unwrap().clicks, 8);
    let stored = |field| server.cli(&["HGET", &days, field]).trim().to_owned();
    assert_eq!(["20605p", "20605dmobile", "20605dother"].map(stored), ["8", "many", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_type_is_damage_and_not_an_outage() {
    let server = Redis::start();
    let store = open(&server, PATIENCE).await;
    let limit = Options { max_visits: NonZeroU32::new(5), ..Options::default() };
    let limited = with(limit, link("k", "https://example.com"));
    assert!(store.put_if_absent(limited.clone(), History::default()).await.unwrap());
    let hash = stored(&server, "link", "k");
    for visits in ["1.5", "0x10", "inf", "-1", "", "many"] {
        server.cli(&["HSET", &hash, "visits", visits]);
        let used = store.use_visit(&key("k")).await;
        assert!(matches!(used, Err(StoreError::Corrupt(_))), "{visits}: {used:?}");
    }
    server.cli(&["SET", &hash, "text"]);
    let tally = Tally {
        key: key("k"),
        created_at: limited.created_at,
        day: DAY,
        counts: DayCounts { people: 1, ..DayCounts::default() },
    };
    let failures = [
        ("get", store.get(&key("k")).await.err()),
        ("use_visit", store.use_visit(&key("k")).await.err()),
        ("update", store.update(limited.clone(), 1).await.err()),
        ("delete", store.delete(&key("k"), limited.revision()).await.err()),
        ("add_clicks", store.add_clicks(vec![tally]).await.unwrap_or_default().pop().map(|(_, error)| error)),
    ];
    for (call, error) in failures {
        assert!(matches!(error, Some(StoreError::Corrupt(_))), "{call}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_counted_at_most_once_if_the_server_responds_too_late() {
    let mut server = Redis::start();
    let store = open(&server, Duration::from_secs(1)).await;
    let metrics = Arc::new(Metrics::new());
    let (links, clicks) = (uncached(store.clone(), metrics.clone()), Clicks::new(&metrics));
    let link = link("k", "https://example.com");
    assert!(store.put_if_absent(link.clone(), History::default()).await.unwrap());
    let counted = async || store.get(&key("k")).await.map(|record| record.map_or(0, |record| record.clicks));
    clicks.record(&link, DAY, person(Device::Mobile));
    clicks.flush(&links).await;
    assert_eq!(counted().await.unwrap(), 1, "the server has the script");

    clicks.record(&link, DAY, person(Device::Mobile));
    server.freeze();
    clicks.flush(&links).await;
    server.thaw();
    eventually(PATIENCE, async || {
        let counted = counted().await;
        if matches!(counted, Ok(2)) { Ok(()) } else { Err(format!("{counted:?}")) }
    })
    .await;
    clicks.flush(&links).await;
    assert_eq!(counted().await.unwrap(), 2);
}
