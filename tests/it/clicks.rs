//! Statistics that strangers try to fill.

use std::sync::Arc;

use jiff::civil::{Date, date};
use urlshort::{
    clicks::{Clicks, Device, Facet, Visitor},
    link::Key,
    observability::metrics::Metrics,
    store::{Store, memory::MemoryStore},
};

use crate::support::{key, link};

const DAY: Date = date(2026, 6, 1);

/// A person who comes from an invented host.
fn person(host: usize) -> Visitor {
    Visitor::Person { device: Device::Desktop, referrer: format!("{host}.example").parse().ok() }
}

async fn referrers(store: &dyn Store, key: &Key) -> usize {
    let counts = store.day_counts(key, DAY, DAY).await.unwrap();
    counts.iter().filter(|counted| matches!(counted.facet, Facet::Referrer(_))).count()
}

#[tokio::test]
async fn a_link_keeps_a_hundred_referrers_a_day_however_many_links_are_followed() {
    let (store, clicks) = (Arc::new(MemoryStore::default()), Clicks::new(&Metrics::new()));
    let crowded = key("crowded");
    assert!(store.put_if_absent(link("crowded", "https://example.com")).await.unwrap());
    for round in 0..3 {
        (0..100).for_each(|host| clicks.record(&crowded, DAY, person(1000 * round + host)));
        clicks.flush(&*store).await;
        for other in 0..60_000 {
            clicks.record(&key(&format!("{round}-{other}")), DAY, person(other));
        }
        clicks.flush(&*store).await;
    }
    assert_eq!(referrers(&*store, &crowded).await, 100);
    let record = store.record(&crowded).await.unwrap().unwrap();
    assert_eq!(record.clicks, 300, "the visits themselves are all counted");
}

#[tokio::test]
async fn a_visit_of_the_day_before_does_not_begin_a_new_count_of_referrers() {
    let (store, clicks) = (Arc::new(MemoryStore::default()), Clicks::new(&Metrics::new()));
    let key = key("k");
    assert!(store.put_if_absent(link("k", "https://example.com")).await.unwrap());
    for round in 0..3 {
        (0..100).for_each(|host| clicks.record(&key, DAY, person(1000 * round + host)));
        clicks.flush(&*store).await;
        clicks.record(&key, DAY.tomorrow().unwrap(), person(1));
        clicks.flush(&*store).await;
    }
    assert_eq!(referrers(&*store, &key).await, 100);
}
