//! Limits on statistics that would otherwise grow without bound.

use std::sync::Arc;

use jiff::civil::{Date, date};
use urlshort::{
    clicks::{Clicks, Device, Visitor},
    link::Link,
    links::Links,
    observability::metrics::Metrics,
    store::{History, memory::MemoryStore},
};

use crate::support::{link, uncached};

const DAY: Date = date(2026, 6, 1);

/// Returns a human visitor with a made-up referrer.
fn person(host: usize) -> Visitor {
    Visitor::Person { device: Device::Desktop, referrer: format!("{host}.example").parse().ok() }
}

/// Returns a link, a store with only that link, and a click counter.
async fn link_and_clicks() -> (Link, Links, Clicks) {
    let (link, metrics) = (link("k", "https://example.com"), Arc::new(Metrics::new()));
    let links = uncached(Arc::new(MemoryStore::default()), metrics.clone());
    assert!(links.put_if_absent(link.clone(), History::default()).await.unwrap());
    (link, links, Clicks::new(&metrics))
}

async fn referrers(links: &Links, link: &Link) -> usize {
    links.day_counts(&link.key, DAY, DAY).await.unwrap()[&DAY].referrers.len()
}

#[tokio::test]
async fn a_link_keeps_a_hundred_referrers_a_day_however_many_links_are_followed() {
    let (crowded, links, clicks) = link_and_clicks().await;
    for round in 0..3 {
        (0..100).for_each(|host| clicks.record(&crowded, DAY, person(1000 * round + host)));
        clicks.flush(&links).await;
        for other in 0..60_000 {
            let other_link = link(&format!("{round}-{other}"), "https://example.com");
            clicks.record(&other_link, DAY, person(other));
        }
        clicks.flush(&links).await;
    }
    assert_eq!(referrers(&links, &crowded).await, 100);
    let record = links.get(&crowded.key).await.unwrap().unwrap();
    assert_eq!(record.clicks, 300, "the visits themselves are all counted");
}

#[tokio::test]
async fn a_visit_on_another_day_does_not_reset_the_limit_on_referrers() {
    let (link, links, clicks) = link_and_clicks().await;
    for round in 0..3 {
        (0..100).for_each(|host| clicks.record(&link, DAY, person(1000 * round + host)));
        clicks.flush(&links).await;
        clicks.record(&link, DAY.tomorrow().unwrap(), person(1));
        clicks.flush(&links).await;
    }
    assert_eq!(referrers(&links, &link).await, 100);
}
