//! Retention sweeps in every store.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use jiff::{Timestamp, ToSpan, civil::date};
use tokio::{runtime::Handle, task::block_in_place};
use urlshort::{
    config::RetentionOptions,
    link::{Link, options::Options},
    observability::metrics::Metrics,
    retention::{Pace, Purged, Sweep},
    store::{Change, History, Store},
};

use super::{days, june, put};
use crate::support::{key, link, uncached, with};

const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    "2026-06-10T12:00:00Z".parse().unwrap()
}

async fn sweep(
    store: &Arc<dyn Store>,
    options: RetentionOptions,
    dry_run: bool,
    found: impl FnMut(&Link),
) -> Purged {
    let metrics = Arc::new(Metrics::new());
    let links = uncached(store.clone(), metrics.clone());
    let sweep =
        Sweep { links: &links, options, now: now(), pace: Pace::FULL_SPEED, metrics: &metrics, dry_run };
    let mut purged = Purged::default();
    sweep.run(&mut purged, found).await.unwrap();
    let counted = Purged { links: metrics.purged_links.get(), day_counts: metrics.purged_day_counts.get() };
    assert_eq!(counted, if dry_run { Purged::default() } else { purged });
    purged
}

/// Returns options that purge links one day after they expire.
fn expired() -> RetentionOptions {
    RetentionOptions { purge_expired_after: Some(DAY), ..RetentionOptions::default() }
}

fn expiring(name: &str, expires_at: Timestamp) -> Link {
    with(Options { expires_at: Some(expires_at), ..Options::default() }, link(name, "https://example.com"))
}

pub(super) async fn expired_links_are_purged_with_their_counts_and_no_others(store: Arc<dyn Store>) {
    let long_ago = now() - 24.hours();
    let mut kept = vec![
        link("plain", "https://example.com"),
        expiring("soon", now() + 1.hour()),
        expiring("lately", long_ago + 1.millisecond()),
    ];
    let mut down = expiring("down", long_ago);
    down.doc.taken_down_at = Some(long_ago);
    let used_up = Options { max_visits: NonZeroU32::new(1), ..Options::default() };
    kept.extend([down, with(used_up, link("used-up", "https://example.com"))]);
    // This link needs a newer version of the program, so its expiry may have another meaning.
    let mut newer = expiring("newer", long_ago);
    let text = serde_json::to_string(&newer.doc).unwrap().replace('{', r#"{"needs":99,"#);
    newer.doc = serde_json::from_str(&text).unwrap();
    kept.push(newer);
    let history = || History { visits: 1, undated_clicks: 2, days: days([(1, r#"{"people":3}"#)]) };
    for link in &kept {
        assert!(store.put_if_absent(link.clone(), history()).await.unwrap());
    }
    // Create more than one page of expired links. One of them has counts.
    put(&store, (0..600).map(|n| expiring(&format!("old-{n}"), long_ago))).await;
    let counted = expiring("counted", "2020-01-01T00:00:00Z".parse().unwrap());
    assert!(store.put_if_absent(counted, history()).await.unwrap());

    let mut found = Vec::new();
    let would = sweep(&store, expired(), true, |link| found.push(link.key.clone())).await;
    assert_eq!(would, Purged { links: 601, day_counts: 0 });
    assert_eq!(found.len(), 601);
    assert!(store.get(&key("counted")).await.unwrap().is_some(), "a dry run removes nothing");

    assert_eq!(sweep(&store, expired(), false, |_| {}).await, would);
    assert_eq!(sweep(&store, expired(), false, |_| {}).await, Purged::default());
    for link in &kept {
        let record = store.get(&link.key).await.unwrap().unwrap();
        assert_eq!((&*record.link, record.clicks, record.visits), (link, 5, 1), "{}", link.key);
        assert_eq!(june(&store, link.key.as_str(), 1, 30).await, history().days, "{}", link.key);
    }
    for name in ["old-0", "old-599", "counted"] {
        assert_eq!(store.get(&key(name)).await.unwrap(), None, "{name}");
    }
    put(&store, [link("counted", "https://again.example")]).await;
    let again = store.get(&key("counted")).await.unwrap().unwrap();
    assert_eq!((again.clicks, again.visits), (0, 0));
    assert_eq!(june(&store, "counted", 1, 30).await, BTreeMap::new());
}

pub(super) async fn a_link_edited_during_a_purge_stays(store: Arc<dyn Store>) {
    let long_ago = now() - 48.hours();
    put(&store, [expiring("edited", long_ago), expiring("left", long_ago)]).await;
    let longer = Link { version: 2, ..expiring("edited", now() + 1.hour()) };
    let purged = sweep(&store, expired(), false, |found| {
        // At this point, the sweep has read the link, but not yet deleted it.
        if found.key.as_str() == "edited" {
            let update = store.update(longer.clone(), 1);
            assert_eq!(block_in_place(|| Handle::current().block_on(update)).unwrap(), Change::Done);
        }
    });
    assert_eq!(purged.await, Purged { links: 1, day_counts: 0 });
    assert_eq!(*store.get(&key("edited")).await.unwrap().unwrap().link, longer);
    assert_eq!(store.get(&key("left")).await.unwrap(), None);
}

pub(super) async fn old_days_are_purged_part_by_part_and_totals_stay(store: Arc<dyn Store>) {
    const LINKS: u64 = 600;
    let history = || History {
        undated_clicks: 1,
        days: days([
            (1, r#"{"people":1}"#),
            (7, r#"{"bots":2,"devices":{"mobile":1}}"#),
            (8, r#"{"people":3,"referrers":{"news.example":1}}"#),
        ]),
        ..History::default()
    };
    for n in 0..LINKS {
        let link = link(&format!("n{n}"), "https://example.com");
        assert!(store.put_if_absent(link, history()).await.unwrap());
    }
    // These options keep the counts for June 8, 9 and 10.
    let options = RetentionOptions { stats_retention: Some(3), ..RetentionOptions::default() };
    let expected = Purged { links: 0, day_counts: 2 * LINKS };
    assert_eq!(sweep(&store, options, true, |_| {}).await, expected);
    assert_eq!(june(&store, "n0", 1, 30).await, history().days, "a dry run removes nothing");
    assert_eq!(sweep(&store, options, false, |_| {}).await, expected);
    assert_eq!(sweep(&store, options, false, |_| {}).await, Purged::default());
    let mut kept = history().days;
    kept.retain(|day, _| *day >= date(2026, 6, 8));
    for n in 0..LINKS {
        let name = format!("n{n}");
        assert_eq!(june(&store, &name, 1, 30).await, kept, "{name}");
        assert_eq!(store.get(&key(&name)).await.unwrap().unwrap().clicks, 5, "{name}");
    }
    // One link has counts for more days than a single step deletes.
    let many =
        (0..1500).map(|n| (date(2020, 1, 1) + n.days(), serde_json::from_str(r#"{"people":1}"#).unwrap()));
    let history = History { days: many.collect(), ..History::default() };
    assert!(store.put_if_absent(link("many", "https://example.com"), history).await.unwrap());
    let expected = Purged { links: 0, day_counts: 1500 };
    assert_eq!(sweep(&store, options, true, |_| {}).await, expected);
    assert_eq!(sweep(&store, options, false, |_| {}).await, expected);
    let left = store.day_counts(&key("many"), date(2020, 1, 1), date(2026, 12, 31)).await.unwrap();
    assert_eq!(left, BTreeMap::new());
}
