//! Guarantees of the cache in front of a store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytesize::ByteSize;
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::{
    task::yield_now,
    time::{advance, sleep},
};
use urlshort::{
    config::CacheOptions,
    link::{Link, Revision},
    links::Links,
    observability::metrics::Metrics,
    store::{Change, Changed, History, Store, StoreError},
};

use crate::support::{FaultyStore, Mood, eventually, key, link};

const LIFETIME: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(2);

/// The deadline for changes that must be visible before a cache entry expires.
///
/// It is measured on the paused clock.
const SOON: Duration = Duration::from_secs(1);

struct Setup {
    store: Arc<FaultyStore>,
    links: Arc<Links>,
    metrics: Arc<Metrics>,
}

fn setup_with(bytes: u64) -> Setup {
    let (store, metrics) = (Arc::new(FaultyStore::default()), Arc::new(Metrics::new()));
    let cache = CacheOptions { cache_bytes: ByteSize(bytes), cache_ttl: LIFETIME };
    let links = Arc::new(Links::new(store.clone(), DEADLINE, cache, metrics.clone()));
    for task in 0..2 {
        let links = links.clone();
        tokio::spawn(async move {
            if task == 0 { links.probe_regularly().await } else { links.watch_regularly().await }
        });
    }
    Setup { store, links, metrics }
}

fn setup() -> Setup {
    setup_with(1 << 20)
}

impl Setup {
    /// Looks up a key through the cache, and returns the link's target.
    async fn target(&self, text: &str) -> Result<Option<String>, StoreError> {
        // Give the tasks that `setup_with` started a chance to run, because a lookup in the cache might never yield.
        yield_now().await;
        Ok(self.links.find(&key(text)).await?.map(|link| link.doc.target.to_string()))
    }

    /// Creates or replaces a link without notifying the cache, as another instance would.
    async fn change_elsewhere(&self, text: &str, target: &str) {
        if let Some(record) = self.store.get_uncounted(&key(text)).await {
            let removed = self.store.delete(&key(text), record.link.revision()).await.unwrap();
            assert_eq!(removed, Change::Done);
        }
        assert!(self.store.put_if_absent(link(text, target), History::default()).await.unwrap());
    }

    /// Waits until the cache returns a target on `host` for key `k`.
    #[track_caller]
    fn wait_for(&self, host: &str) -> impl Future<Output = ()> {
        let expected = some(host);
        eventually(SOON, async move || {
            let target = self.target("k").await.unwrap();
            if target == expected { Ok(()) } else { Err(target) }
        })
    }

    fn counted(&self, result: &str) -> u64 {
        self.metrics.cache_requests.with_label_values(&[result]).get()
    }
}

fn some(target: &str) -> Option<String> {
    Some(format!("https://{target}/"))
}

#[tokio::test(start_paused = true)]
async fn a_link_is_read_once_and_again_after_its_lifetime() {
    let setup = setup();
    setup.change_elsewhere("k", "https://one.example").await;
    for _ in 0..10 {
        assert_eq!(setup.target("k").await.unwrap(), some("one.example"));
    }
    assert_eq!(setup.store.reads(), 1);
    setup.change_elsewhere("k", "https://two.example").await;
    advance(LIFETIME).await;
    assert_eq!(setup.target("k").await.unwrap(), some("two.example"));
    assert_eq!((setup.counted("miss"), setup.counted("hit")), (2, 9));
}

#[tokio::test(start_paused = true)]
async fn a_link_in_use_is_refreshed_in_the_background_before_it_expires() {
    let setup = setup();
    setup.change_elsewhere("k", "https://one.example").await;
    setup.target("k").await.unwrap();
    setup.change_elsewhere("k", "https://two.example").await;
    advance(LIFETIME * 4 / 5).await;
    assert_eq!(setup.target("k").await.unwrap(), some("one.example"));
    setup.wait_for("two.example").await;
    assert_eq!(setup.counted("miss"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_link_is_cached_for_a_second() {
    let setup = setup();
    for _ in 0..10 {
        assert_eq!(setup.target("k").await.unwrap(), None);
    }
    assert_eq!(setup.store.reads(), 1);
    setup.change_elsewhere("k", "https://one.example").await;
    advance(Duration::from_secs(1)).await;
    assert_eq!(setup.target("k").await.unwrap(), some("one.example"));
}

#[tokio::test(start_paused = true)]
async fn own_changes_show_immediately() {
    let setup = setup();
    assert_eq!(setup.target("k").await.unwrap(), None);
    assert!(setup.links.put_if_absent(link("k", "https://one.example"), History::default()).await.unwrap());
    assert_eq!(setup.target("k").await.unwrap(), some("one.example"));
    let edited = Link { version: 2, ..link("k", "https://two.example") };
    assert_eq!(setup.links.update(edited.clone(), 1).await.unwrap(), Change::Done);
    assert_eq!(setup.target("k").await.unwrap(), some("two.example"));
    assert_eq!(setup.links.delete(&key("k"), edited.revision()).await.unwrap(), Change::Done);
    assert_eq!(setup.target("k").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn reported_changes_show_immediately() {
    for change in [Changed::Link(key("k")), Changed::Anything] {
        let setup = setup();
        setup.change_elsewhere("k", "https://one.example").await;
        setup.target("k").await.unwrap();
        setup.change_elsewhere("k", "https://two.example").await;
        setup.store.report_change(change);
        setup.wait_for("two.example").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_reported_while_a_link_is_read_is_not_lost() {
    let setup = Arc::new(setup());
    setup.change_elsewhere("k", "https://one.example").await;
    // Let the store read the old link, but hold back the result.
    setup.store.hold_lookups(true);
    let reader = tokio::spawn({
        let setup = setup.clone();
        async move { setup.target("k").await }
    });
    eventually(SOON, async || if setup.store.held_lookups() > 0 { Ok(()) } else { Err("nothing is held") })
        .await;
    setup.change_elsewhere("k", "https://two.example").await;
    setup.store.report_change(Changed::Link(key("k")));
    sleep(Duration::from_millis(1)).await;
    setup.store.hold_lookups(false);
    assert_eq!(reader.await.unwrap().unwrap(), some("one.example"), "it was read before the change");
    assert_eq!(setup.target("k").await.unwrap(), some("two.example"));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_concurrent_lookups_of_a_link_share_one_read() {
    let setup = setup();
    setup.change_elsewhere("k", "https://one.example").await;
    setup.store.set_mood(Mood::Frozen);
    let lookups = join_all((0..200).map(|_| setup.target("k")));
    let thaw = async {
        sleep(Duration::from_millis(500)).await;
        setup.store.set_mood(Mood::Fine);
    };
    let (targets, ()) = tokio::join!(lookups, thaw);
    assert!(targets.into_iter().all(|target| target.unwrap() == some("one.example")));
    assert_eq!(setup.store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_lookup_does_not_cancel_the_others() {
    let setup = Arc::new(setup());
    setup.change_elsewhere("k", "https://one.example").await;
    setup.store.set_mood(Mood::Frozen);
    let lookup = |setup: Arc<Setup>| tokio::spawn(async move { setup.target("k").await });
    let (first, second) = (lookup(setup.clone()), lookup(setup.clone()));
    sleep(Duration::from_millis(10)).await;
    first.abort();
    setup.store.set_mood(Mood::Fine);
    assert_eq!(second.await.unwrap().unwrap(), some("one.example"));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_fails_known_links_are_served_and_unknown_ones_fail_fast() {
    for mood in [Mood::Broken, Mood::Frozen] {
        let setup = setup();
        setup.change_elsewhere("known", "https://one.example").await;
        setup.target("known").await.unwrap();
        setup.store.set_mood(mood);
        advance(LIFETIME * 2).await;
        let start = tokio::time::Instant::now();
        for _ in 0..100 {
            assert_eq!(setup.target("known").await.unwrap(), some("one.example"));
        }
        assert!(start.elapsed() <= DEADLINE + Duration::from_millis(200), "{:?}", start.elapsed());
        assert!(setup.target("unknown").await.is_err());
        let start = tokio::time::Instant::now();
        for _ in 0..100 {
            assert!(setup.target("unknown").await.is_err());
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "no lookup waits for a store that is known to be down");

        setup.store.set_mood(Mood::Fine);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(setup.target("unknown").await.unwrap(), None, "lookups recover");
        setup.change_elsewhere("known", "https://two.example").await;
        advance(LIFETIME).await;
        assert_eq!(setup.target("known").await.unwrap(), some("two.example"));
        assert_eq!(setup.metrics.store_up.with_label_values(&["faulty"]).get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_exceeds_its_deadline_still_shows_once_applied() {
    let setup = setup();
    setup.change_elsewhere("k", "https://one.example").await;
    setup.target("k").await.unwrap();
    setup.store.set_mood(Mood::Frozen);
    let edited = Link { version: 2, ..link("k", "https://two.example") };
    assert!(matches!(setup.links.update(edited, 1).await, Err(StoreError::Timeout(_))));
    assert_eq!(setup.target("k").await.unwrap(), some("one.example"), "not applied yet");
    setup.store.set_mood(Mood::Fine);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(setup.target("k").await.unwrap(), some("two.example"));
}

#[tokio::test(start_paused = true)]
async fn one_failed_lookup_does_not_fail_the_others() {
    let setup = setup();
    // Start the lookup between two probes, so that it times out before the next probe.
    sleep(Duration::from_millis(500)).await;
    assert!(matches!(setup.target("hang").await, Err(StoreError::Timeout(_))));
    for number in 0..100 {
        assert_eq!(setup.target(&format!("unknown-{number}")).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn lookups_from_before_a_recovery_do_not_fail_those_after_it() {
    let setup = Arc::new(setup());
    let hanging = (0..16).map(|number| {
        let setup = setup.clone();
        tokio::spawn(async move { setup.target(&format!("hang-{number}")).await })
    });
    let hanging: Vec<_> = hanging.collect();
    sleep(Duration::from_millis(100)).await;
    setup.store.set_mood(Mood::Broken);
    sleep(Duration::from_millis(1000)).await;
    assert!(setup.target("unknown").await.is_err(), "a probe has failed");
    setup.store.set_mood(Mood::Fine);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(setup.target("unknown").await.unwrap(), None, "another probe has succeeded");
    for lookup in hanging {
        assert!(matches!(lookup.await.unwrap(), Err(StoreError::Timeout(_))));
    }
    assert_eq!(setup.target("another").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_fetch_is_an_error_and_can_be_repeated() {
    let setup = setup();
    for _ in 0..2 {
        assert!(matches!(setup.target("panic").await, Err(StoreError::Unavailable(_))));
    }
    assert_eq!(setup.store.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_every_caller_abandons_is_repeated_by_the_next() {
    let setup = Arc::new(setup());
    setup.change_elsewhere("k", "https://one.example").await;
    setup.store.hold_lookups(true);
    let callers = [(); 2].map(|()| {
        let setup = setup.clone();
        tokio::spawn(async move { setup.target("k").await })
    });
    eventually(SOON, async || if setup.store.held_lookups() > 0 { Ok(()) } else { Err("nothing is held") })
        .await;
    assert_eq!(setup.store.reads(), 1, "both callers share a read");
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    setup.store.hold_lookups(false);
    assert_eq!(setup.target("k").await.unwrap(), some("one.example"));
    assert_eq!(setup.store.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_cache_stays_within_its_size() {
    const BYTES: u64 = 256 << 10;
    let setup = setup_with(BYTES);
    for number in 0..5000 {
        let long = format!("https://{number}.example/{}", "x".repeat(number % 1000));
        setup.change_elsewhere(&number.to_string(), &long).await;
        setup.target(&number.to_string()).await.unwrap();
        setup.target(&format!("missing-{number}")).await.unwrap();
        let bytes = setup.metrics.cache_bytes.get().cast_unsigned();
        assert!(bytes <= BYTES, "{bytes} after {number} links");
    }
    assert!(setup.metrics.cache_bytes.get().cast_unsigned() > BYTES / 2, "the cache uses its size");
}

/// An event in a random sequence. The `u8` in a variant selects one of three links.
#[derive(Clone, Debug)]
enum Event {
    Lookup(u8),
    Put(u8, u16),
    Edit(u8, u16),
    Delete(u8),
    Elsewhere(u8, u16),
    Wait(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let link = 0..3_u8;
    prop_oneof![
        4 => link.clone().prop_map(Event::Lookup),
        1 => (link.clone(), any::<u16>()).prop_map(|(link, target)| Event::Put(link, target)),
        1 => (link.clone(), any::<u16>()).prop_map(|(link, target)| Event::Edit(link, target)),
        1 => link.clone().prop_map(Event::Delete),
        1 => (link, any::<u16>()).prop_map(|(link, target)| Event::Elsewhere(link, target)),
        1 => (0..50_000_u16).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After any sequence of events, the cache must return the same links as the store.
    #[test]
    fn with_every_change_reported_the_cache_is_never_stale(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let setup = setup();
            let mut model = HashMap::<u8, (String, u32)>::new();
            for event in events {
                match event {
                    Event::Lookup(n) => {
                        let expected = model.get(&n).map(|(target, _)| target.clone());
                        assert_eq!(setup.target(&n.to_string()).await.unwrap(), expected);
                    }
                    Event::Put(n, target) => {
                        let new = link(&n.to_string(), &format!("https://{target}.example/"));
                        let put = setup.links.put_if_absent(new.clone(), History::default()).await.unwrap();
                        assert_eq!(put, !model.contains_key(&n));
                        model.entry(n).or_insert((new.doc.target.to_string(), 1));
                    }
                    Event::Edit(n, target) => {
                        let version = model.get(&n).map_or(1, |(_, version)| *version);
                        let new = link(&n.to_string(), &format!("https://{target}.example/"));
                        let edited = Link { version: version + 1, ..new };
                        let change = setup.links.update(edited.clone(), version).await.unwrap();
                        assert_eq!(change == Change::Done, model.contains_key(&n));
                        model.entry(n).and_modify(|kept| *kept = (edited.doc.target.to_string(), version + 1));
                    }
                    Event::Delete(n) => {
                        let version = model.get(&n).map_or(1, |(_, version)| *version);
                        let revision = Revision { version, ..link("k", "https://example.com").revision() };
                        let change = setup.links.delete(&key(&n.to_string()), revision).await.unwrap();
                        assert_eq!(change == Change::Done, model.remove(&n).is_some());
                    }
                    Event::Elsewhere(n, target) => {
                        let target = format!("https://{target}.example/");
                        setup.change_elsewhere(&n.to_string(), &target).await;
                        model.insert(n, (target, 1));
                        setup.store.report_change(Changed::Link(key(&n.to_string())));
                        // Wait for the change feed to deliver the event.
                        sleep(Duration::from_millis(1)).await;
                    }
                    Event::Wait(ms) => sleep(Duration::from_millis(ms.into())).await,
                }
            }
        });
    }
}
