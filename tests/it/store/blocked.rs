//! Blocked hosts, in every store.

use std::{collections::HashSet, ops::Bound, sync::Arc};

use futures_util::{StreamExt, future::join_all, stream};
use urlshort::{
    blocked_hosts::{BlockedHost, HostPattern},
    store::Store,
};

const MAX: u32 = 1000;

fn entry(host: &str) -> BlockedHost {
    BlockedHost {
        host: host.parse().unwrap(),
        reason: None,
        blocked_by: "anna".parse().unwrap(),
        blocked_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
    }
}

async fn block(store: &Arc<dyn Store>, host: &str) {
    assert!(store.block_host(entry(host), MAX).await.unwrap());
}

async fn hosts(store: &Arc<dyn Store>, from: Bound<&str>, limit: usize) -> Vec<String> {
    let from: Bound<HostPattern> = from.map(|host| host.parse().unwrap());
    let entries = store.blocked_hosts(from.as_ref(), limit).await.unwrap();
    entries.iter().map(|entry| entry.host.to_string()).collect()
}

pub(super) async fn a_blocked_host_is_returned_as_it_was_stored(store: Arc<dyn Store>) {
    assert!(store.blocked_hosts(Bound::Unbounded, 10).await.unwrap().is_empty());
    let longest = format!(".{}example", "a.".repeat(123));
    let full = BlockedHost {
        reason: Some("Ünïcode \"reason\" '); DROP TABLE links; -- 😀".parse().unwrap()),
        blocked_by: "a'\"\\".parse().unwrap(),
        blocked_at: "1969-12-31T23:59:59.999Z".parse().unwrap(),
        ..entry(&longest)
    };
    for first in [full.clone(), BlockedHost { blocked_by: "ben".parse().unwrap(), ..entry(&longest) }] {
        assert!(store.block_host(first.clone(), MAX).await.unwrap());
        assert_eq!(
            store.blocked_hosts(Bound::Unbounded, 10).await.unwrap(),
            [first],
            "an entry replaces the previous one"
        );
    }
    assert!(store.unblock_host(&full.host).await.unwrap());
    assert!(!store.unblock_host(&full.host).await.unwrap());
    assert!(store.blocked_hosts(Bound::Unbounded, 10).await.unwrap().is_empty());
}

pub(super) async fn blocked_hosts_are_listed_in_order_page_by_page(store: Arc<dyn Store>) {
    let mut sorted = [".b", "192.0.2.1", "[::1]", "a-b", "a.b", "a_b", "ab", "xn--bcher-kva.example"];
    for host in ["ab", "[::1]", "a_b", ".b", "xn--bcher-kva.example", "a.b", "192.0.2.1", "a-b"] {
        block(&store, host).await;
    }
    sorted.sort_unstable();
    assert_eq!(hosts(&store, Bound::Unbounded, 100).await, sorted);
    let mut pages = hosts(&store, Bound::Unbounded, 3).await;
    while let page = hosts(&store, Bound::Excluded(pages.last().unwrap()), 3).await
        && !page.is_empty()
    {
        pages.extend(page);
    }
    assert_eq!(pages, sorted);
    assert_eq!(hosts(&store, Bound::Included("a.b"), 1).await, ["a.b"]);
    assert_eq!(hosts(&store, Bound::Included("a.a"), 1).await, ["a.b"]);
}

pub(super) async fn blocked_hosts_are_limited_even_if_many_are_added_at_once(store: Arc<dyn Store>) {
    let put = |number| store.block_host(entry(&format!("{number}.example")), 5);
    let done: Vec<bool> =
        stream::iter(0..40).map(put).buffer_unordered(16).map(Result::unwrap).collect().await;
    assert_eq!(done.iter().filter(|done| **done).count(), 5);
    let kept = hosts(&store, Bound::Unbounded, 100).await;
    assert_eq!(kept.len(), 5);
    assert!(store.block_host(entry(&kept[0]), 5).await.unwrap(), "an entry can still be replaced");
    assert!(store.unblock_host(&kept[1].parse().unwrap()).await.unwrap());
    assert!(store.block_host(entry("other.example"), 5).await.unwrap());
    assert!(!store.block_host(entry("one-more.example"), 5).await.unwrap());
}

pub(super) async fn each_change_of_the_blocked_hosts_has_a_new_revision(store: Arc<dyn Store>) {
    let revision = async || store.blocked_hosts_revision().await.unwrap();
    let mut seen = HashSet::from([revision().await]);
    block(&store, "a.example").await;
    assert!(seen.insert(revision().await), "an added host");
    block(&store, "a.example").await;
    assert!(seen.insert(revision().await), "a replaced host");
    let before = revision().await;
    assert!(!store.block_host(entry("b.example"), 1).await.unwrap());
    assert!(!store.unblock_host(&entry("b.example").host).await.unwrap());
    assert_eq!(revision().await, before, "nothing was changed");
    assert!(store.unblock_host(&entry("a.example").host).await.unwrap());
    assert!(seen.insert(revision().await), "a removed host");
    let put = (0..20).map(|number| {
        let store = store.clone();
        async move { block(&store, &format!("{number}.example")).await }
    });
    let before = revision().await;
    join_all(put).await;
    assert_eq!(revision().await, before + 20, "no change is lost");
}
