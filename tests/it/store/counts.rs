//! The counts of a link in every store: visits, clicks, and clicks per day.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use futures_util::future::join_all;
use jiff::{
    ToSpan,
    civil::{Date, date},
};
use urlshort::{
    clicks::{DayCounts, MAX_COUNT, Tally},
    link::{Link, options::Options},
    store::{
        Change, History, Store,
        listing::{Listing, Order},
    },
};

use super::{get, put};
use crate::support::{key, link, with};

/// Parses the counts for one day from JSON.
fn counts(text: &str) -> DayCounts {
    serde_json::from_str(text).unwrap()
}

/// Parses the counts for several days in June 2026 from JSON.
pub(super) fn days<const N: usize>(days: [(i8, &str); N]) -> BTreeMap<Date, DayCounts> {
    days.into_iter().map(|(day, text)| (date(2026, 6, day), counts(text))).collect()
}

fn most_clicked() -> Listing {
    Listing { order: Order::MostClicked, limit: 10, ..Listing::default() }
}

/// Returns a link's counts for a range of days in June 2026.
pub(super) async fn june(
    store: &Arc<dyn Store>,
    text: &str,
    first: i8,
    last: i8,
) -> BTreeMap<Date, DayCounts> {
    store.day_counts(&key(text), date(2026, 6, first), date(2026, 6, last)).await.unwrap()
}

pub(super) async fn a_link_is_stored_with_its_history(store: Arc<dyn Store>) {
    let days = days([(1, r#"{"people":3}"#), (2, r#"{"people":4,"bots":5,"devices":{"tablet":4}}"#)]);
    let history = History { visits: 6, undated_clicks: 10, days: days.clone() };
    assert!(store.put_if_absent(link("k", "https://example.com"), history.clone()).await.unwrap());
    assert!(!store.put_if_absent(link("k", "https://example.com"), history).await.unwrap());
    let record = store.get(&key("k")).await.unwrap().unwrap();
    assert_eq!((record.clicks, record.visits), (17, 6), "the refused second put was not counted");
    assert_eq!(june(&store, "k", 1, 30).await, days);
}

pub(super) async fn visits_are_used_up_exactly(store: Arc<dyn Store>) {
    let limit = |visits| Options { max_visits: NonZeroU32::new(visits), ..Options::default() };
    let limited = with(limit(10), link("k", "https://example.com"));
    put(&store, [limited.clone(), link("free", "https://example.com")]).await;
    let visits = (0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.use_visit(&key("k")).await.unwrap() })
    });
    let used = join_all(visits).await.into_iter().filter(|used| *used.as_ref().unwrap()).count();
    assert_eq!(used, 10);
    assert_eq!(store.get(&key("k")).await.unwrap().unwrap().visits, 10);
    let raised = Link { version: 2, ..with(limit(11), limited) };
    assert_eq!(store.update(raised, 1).await.unwrap(), Change::Done);
    assert!(store.use_visit(&key("k")).await.unwrap(), "a raised limit allows another visit");
    assert!(!store.use_visit(&key("k")).await.unwrap());
    assert!(store.use_visit(&key("free")).await.unwrap(), "without a limit there is always a visit left");
}

/// Returns a tally for a test link on a day in June 2026.
pub(crate) fn tally(text: &str, day: i8, counts: &str) -> Tally {
    let Link { key, created_at, .. } = link(text, "https://example.com");
    Tally { key, created_at, day: date(2026, 6, day), counts: self::counts(counts) }
}

pub(super) async fn clicks_add_up_by_day(store: Arc<dyn Store>) {
    put(&store, [link("a", "https://example.com"), link("b", "https://example.com")]).await;
    let first = r#"{"people":2,"devices":{"mobile":2},"referrers":{"news.example":1}}"#;
    store.add_clicks(vec![tally("a", 1, first), tally("b", 1, r#"{"bots":9}"#)]).await.unwrap();
    let second = r#"{"people":3,"devices":{"mobile":1,"other":2},"referrers":{"news.example":3,"|:,\"":1}}"#;
    store.add_clicks(vec![tally("a", 1, second), tally("a", 2, r#"{"people":1}"#)]).await.unwrap();

    let sum = r#"{"people":5,"devices":{"mobile":3,"other":2},"referrers":{"news.example":4,"|:,\"":1}}"#;
    assert_eq!(june(&store, "a", 1, 1).await, days([(1, sum)]));
    assert_eq!(june(&store, "a", 2, 30).await, days([(2, r#"{"people":1}"#)]));
    assert_eq!(june(&store, "b", 1, 30).await, days([(1, r#"{"bots":9}"#)]));
    assert_eq!(june(&store, "a", 2, 1).await, BTreeMap::new());
    assert_eq!(store.get(&key("a")).await.unwrap().unwrap().clicks, 6);
    assert_eq!(store.get(&key("b")).await.unwrap().unwrap().clicks, 0, "bots are not people");
    let most_clicked = store.list(&most_clicked()).await.unwrap().records;
    assert_eq!(most_clicked.len(), 1);
}

pub(super) async fn clicks_on_a_missing_link_are_ignored(store: Arc<dyn Store>) {
    put(&store, [link("a", "https://example.com")]).await;
    let people = r#"{"people":7}"#;
    store.add_clicks(vec![tally("a", 1, people), tally("gone", 1, people)]).await.unwrap();
    assert_eq!(june(&store, "gone", 1, 30).await, BTreeMap::new());
    assert_eq!(june(&store, "a", 1, 30).await, days([(1, people)]));
}

pub(super) async fn a_link_recreated_within_a_second_inherits_nothing(store: Arc<dyn Store>) {
    let first = link("k", "https://example.com");
    put(&store, [first.clone()]).await;
    let visited = tally("k", 1, r#"{"people":1}"#);
    store.add_clicks(vec![visited.clone()]).await.unwrap();
    assert!(store.use_visit(&first.key).await.unwrap());
    assert_eq!(store.delete(&first.key, first.revision()).await.unwrap(), Change::Done);

    let second = Link { created_at: first.created_at + 1.milliseconds(), ..first.clone() };
    put(&store, [second.clone()]).await;
    store.add_clicks(vec![visited]).await.unwrap();
    let record = store.get(&second.key).await.unwrap().unwrap();
    assert_eq!((&*record.link, record.clicks, record.visits), (&second, 0, 0));
    assert_eq!(june(&store, "k", 1, 30).await, BTreeMap::new());
    let edited = Link { version: 2, ..first.clone() };
    assert_eq!(store.update(edited, 1).await.unwrap(), Change::Conflict, "both are at version 1");
    assert_eq!(store.delete(&first.key, first.revision()).await.unwrap(), Change::Conflict);
    assert_eq!(get(&store, "k").await.as_ref(), Some(&second));
}

pub(super) async fn a_count_stops_at_its_maximum_and_affects_no_other(store: Arc<dyn Store>) {
    let history = History {
        visits: MAX_COUNT - 1,
        undated_clicks: MAX_COUNT - 10,
        days: days([(1, r#"{"people":9,"bots":9223372036854775807}"#)]),
    };
    assert!(store.put_if_absent(link("full", "https://example.com"), history).await.unwrap());
    put(&store, [link("a", "https://example.com"), link("z", "https://example.com")]).await;
    for _ in 0..2 {
        let visited = r#"{"people":1,"bots":1}"#;
        let tallies = ["a", "full", "z"].map(|text| tally(text, 1, visited));
        store.add_clicks(tallies.into()).await.unwrap();
    }
    let record = store.get(&key("full")).await.unwrap().unwrap();
    assert_eq!((record.clicks, record.visits), (MAX_COUNT, MAX_COUNT - 1));
    assert_eq!(june(&store, "full", 1, 1).await, days([(1, r#"{"people":11,"bots":9223372036854775807}"#)]));
    for text in ["a", "z"] {
        assert_eq!(store.get(&key(text)).await.unwrap().unwrap().clicks, 2);
    }
    let listed = store.list(&most_clicked()).await.unwrap().records;
    let listed: Vec<_> = listed.iter().map(|record| record.link.key.as_str()).collect();
    assert_eq!(listed, ["full", "z", "a"]);
}
