//! What holds for every store. Each test runs against each of them.

use std::{collections::HashSet, num::NonZeroU32, sync::Arc};

use futures_util::future::join_all;
use urlshort::store::{self, FIRST_NUMBER, Store, StoreError};

use crate::support::{key, link, sqlite_in};

/// Makes a test for each store out of functions that take one.
macro_rules! conformance {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::store::open(&"memory:".parse().unwrap()).await.unwrap()).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let url = super::sqlite_in(directory.path()).parse().unwrap();
                super::$name(super::store::open(&url).await.unwrap()).await;
            })*
        }
    };
}

conformance! {
    a_link_comes_back_as_it_was_put
    an_unknown_key_has_no_link
    the_first_link_of_a_key_stays
    of_64_tasks_that_race_for_a_key_one_wins
    many_links_are_put_at_once
    numbers_come_once_and_in_order
    clicks_add_up
    clicks_on_a_link_that_is_not_there_are_left_out
    a_store_that_is_open_answers
}

async fn a_link_comes_back_as_it_was_put(store: Arc<dyn Store>) {
    let plain = link("plain", "https://example.com/ü?q=1#f");
    let mut full = link(&"_-9".repeat(21), &format!("https://example.com/{}", "x".repeat(2000)));
    full.expires_at = Some("2999-12-31T23:59:59.999Z".parse().unwrap());
    full.max_visits = NonZeroU32::new(u32::MAX);
    full.taken_down_at = Some("1969-12-31T23:59:59.999Z".parse().unwrap());
    for link in [plain, full] {
        assert!(store.put_if_absent(link.clone()).await.unwrap());
        assert_eq!(store.get(&link.key).await.unwrap().as_deref(), Some(&link));
    }
}

async fn an_unknown_key_has_no_link(store: Arc<dyn Store>) {
    assert_eq!(store.get(&key("nothing")).await.unwrap(), None);
    assert_eq!(store.clicks(&key("nothing")).await.unwrap(), None);
}

async fn the_first_link_of_a_key_stays(store: Arc<dyn Store>) {
    let first = link("k", "https://first.example");
    assert!(store.put_if_absent(first.clone()).await.unwrap());
    assert!(!store.put_if_absent(link("k", "https://second.example")).await.unwrap());
    assert!(store.put_if_absent(link("K", "https://other.example")).await.unwrap(), "case counts");
    assert_eq!(store.get(&key("k")).await.unwrap().as_deref(), Some(&first));
}

async fn of_64_tasks_that_race_for_a_key_one_wins(store: Arc<dyn Store>) {
    for round in 0..10 {
        let barrier = Arc::new(tokio::sync::Barrier::new(64));
        let tasks = (0..64).map(|task| {
            let (store, barrier) = (store.clone(), barrier.clone());
            tokio::spawn(async move {
                let link = link(&format!("race-{round}"), &format!("https://{task}.example"));
                barrier.wait().await;
                store.put_if_absent(link.clone()).await.unwrap().then_some(link)
            })
        });
        let winners: Vec<_> = join_all(tasks).await.into_iter().filter_map(Result::unwrap).collect();
        let [winner] = &winners[..] else { panic!("{} tasks won", winners.len()) };
        assert_eq!(store.get(&winner.key).await.unwrap().as_deref(), Some(winner));
    }
}

async fn many_links_are_put_at_once(store: Arc<dyn Store>) {
    let links: Vec<_> = (0..2000).map(|n| link(&format!("n{n}"), &format!("https://{n}.example"))).collect();
    let put = join_all(links.iter().map(|link| store.put_if_absent(link.clone()))).await;
    assert!(put.into_iter().all(|put| put.unwrap()));
    let found = join_all(links.iter().map(|link| store.get(&link.key))).await;
    for (link, found) in links.iter().zip(found) {
        assert_eq!(found.unwrap().as_deref(), Some(link));
    }
}

async fn numbers_come_once_and_in_order(store: Arc<dyn Store>) {
    let block = store.take_numbers(10).await.unwrap();
    assert_eq!(block, FIRST_NUMBER..FIRST_NUMBER + 10);
    let blocks = join_all((1..=50).map(|count| store.take_numbers(count))).await;
    let numbers: HashSet<u64> = blocks.into_iter().flat_map(|block| block.unwrap()).collect();
    assert_eq!(numbers.len(), (1..=50).sum::<usize>());
    assert_eq!(*numbers.iter().min().unwrap(), FIRST_NUMBER + 10);
    assert_eq!(*numbers.iter().max().unwrap(), FIRST_NUMBER + 10 + 1275 - 1);
}

async fn clicks_add_up(store: Arc<dyn Store>) {
    for name in ["a", "b"] {
        assert!(store.put_if_absent(link(name, "https://example.com")).await.unwrap());
    }
    assert_eq!(store.clicks(&key("a")).await.unwrap(), Some(0));
    store.add_clicks(vec![(key("a"), 2), (key("b"), 1)]).await.unwrap();
    store.add_clicks(vec![(key("a"), 3)]).await.unwrap();
    assert_eq!(store.clicks(&key("a")).await.unwrap(), Some(5));
    assert_eq!(store.clicks(&key("b")).await.unwrap(), Some(1));
}

async fn clicks_on_a_link_that_is_not_there_are_left_out(store: Arc<dyn Store>) {
    assert!(store.put_if_absent(link("a", "https://example.com")).await.unwrap());
    store.add_clicks(vec![(key("gone"), 7), (key("a"), 1)]).await.unwrap();
    assert_eq!(store.clicks(&key("gone")).await.unwrap(), None);
    assert_eq!(store.clicks(&key("a")).await.unwrap(), Some(1));
}

async fn a_store_that_is_open_answers(store: Arc<dyn Store>) {
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses_instead_of_hanging() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(&sqlite_in(directory.path()).parse().unwrap()).await.unwrap();
    store.close().await;
    let refused = store.put_if_absent(link("k", "https://example.com")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_row_is_told_apart_from_a_store_that_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(&sqlite_in(directory.path()).parse().unwrap()).await.unwrap();
    assert!(store.put_if_absent(link("good", "https://example.com")).await.unwrap());
    let file = rusqlite::Connection::open(directory.path().join("links.db")).unwrap();
    file.execute("INSERT INTO links (key, target, created_at) VALUES ('bad', 'no url', 0)", ()).unwrap();
    let (bad, good) = (key("bad"), key("good"));
    let (bad, good) = tokio::join!(store.get(&bad), store.get(&good));
    assert!(matches!(bad, Err(StoreError::Corrupt(_))), "{bad:?}");
    assert!(good.unwrap().is_some(), "one bad row does not spoil the batch that it is read in");
}
