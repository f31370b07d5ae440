//! The conformance suite: each test runs against every store.

mod blocked;
mod counts;
mod listing;
mod purge;

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use futures_util::{StreamExt, future::join_all, stream};
use jiff::civil::date;
use serde_json::json;
use urlshort::{
    link::{
        Link, Revision,
        options::{Options, PasswordHash, RedirectStatus, Tags},
    },
    store::{
        Change, FIRST_NUMBER, History, Secret, Store, StoreError,
        listing::{Listing, Order},
    },
};

pub(crate) use self::counts::tally;
use self::{blocked::*, counts::*, listing::*, purge::*};
use crate::support::{Postgres, Redis, RedisCluster, key, link, open, sqlite_in, target, with};

type Conforms = fn(Arc<dyn Store>) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Generates a test for each combination of store and function.
///
/// Each function takes a store.
macro_rules! conformance {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::open("memory:").await).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let url = super::sqlite_in(directory.path());
                super::$name(super::open(&url).await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let server = super::Postgres::start();
                super::$name(super::open(&server.url()).await).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let server = super::Redis::start();
                super::$name(super::open(&server.url()).await).await;
            })*
        }

        /// All functions share one cluster, because forming a cluster takes seconds.
        #[tokio::test(flavor = "multi_thread")]
        async fn redis_cluster() {
            let cluster = RedisCluster::start();
            for (name, conforms) in [$((stringify!($name), (|store| Box::pin($name(store))) as Conforms)),*] {
                eprintln!("{name}");
                conforms(open(&cluster.url()).await).await;
                cluster.empty();
            }
        }
    };
}

conformance! {
    a_link_is_returned_as_it_was_stored
    an_unknown_key_has_no_link
    the_first_link_keeps_its_key
    one_of_64_tasks_that_race_for_a_key_wins
    many_links_can_be_created_at_once
    a_link_is_stored_with_its_history
    an_edit_replaces_the_version_that_it_read
    one_of_many_edits_of_a_version_wins
    a_link_at_the_maximum_version_is_kept_and_deleted_like_any_other
    a_deleted_link_leaves_nothing_behind
    visits_are_used_up_exactly
    links_are_listed_in_order_page_by_page
    a_filter_finds_the_same_links_in_every_store
    filtered_links_are_listed_page_by_page
    a_search_stops_when_its_time_is_up_and_can_be_continued
    a_blocked_host_is_returned_as_it_was_stored
    blocked_hosts_are_listed_in_order_page_by_page
    blocked_hosts_are_limited_even_if_many_are_added_at_once
    each_change_of_the_blocked_hosts_has_a_new_revision
    numbers_are_unique_and_in_order
    clicks_add_up_by_day
    clicks_on_a_missing_link_are_ignored
    a_link_recreated_within_a_second_inherits_nothing
    a_count_stops_at_its_maximum_and_affects_no_other
    expired_links_are_purged_with_their_counts_and_no_others
    a_link_edited_during_a_purge_stays
    old_days_are_purged_part_by_part_and_totals_stay
    all_instances_share_the_first_secret
    an_open_store_responds
}

async fn all_instances_share_the_first_secret(store: Arc<dyn Store>) {
    let proposals = (1..=16).map(|byte| {
        let store = store.clone();
        tokio::spawn(async move { store.secret(Secret([byte; 32])).await.unwrap() })
    });
    let secrets: Vec<_> = join_all(proposals).await.into_iter().map(Result::unwrap).collect();
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    let other = store.secret(Secret([0xff; 32])).await.unwrap();
    assert_eq!(other, secrets[0]);
    assert_eq!(format!("{other:?}"), "[redacted]");
}

/// Returns a link with every option set.
///
/// The link also has fields that only a newer version of the program knows.
fn full_link(key: &str) -> Link {
    let options = Options {
        starts_at: Some("1000-01-01T00:00:00.001Z".parse().unwrap()),
        expires_at: Some("2999-12-31T23:59:59.999Z".parse().unwrap()),
        max_visits: NonZeroU32::new(u32::MAX),
        redirect: RedirectStatus::PermanentRedirect,
        forward_query: true,
        gone_url: Some(target("https://gone.example/ü")),
        title: Some("Ünïcode \"title\" 😀".parse().unwrap()),
        tags: Tags::parse(["b tag", "ä", "a'; DROP TABLE links; --"]).unwrap(),
        password: Some(PasswordHash::from_phc("$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA")),
    };
    let link = with(options, link(key, &format!("https://example.com/{}", "x".repeat(2000))));
    let mut doc = serde_json::to_value(&link.doc).unwrap();
    doc["taken_down_at"] = "1969-12-31T23:59:59.999Z".into();
    doc["needs"] = 4_000_000_000_u32.into();
    doc["newer"] = json!({ "numbers": [1, -2.5, 12_345_678_901_234_567_890_u64], "text": "'\"\\ü" });
    Link { version: 7, doc: serde_json::from_value(doc).unwrap(), ..link }
}

async fn put(store: &Arc<dyn Store>, links: impl IntoIterator<Item = Link>) {
    let put = stream::iter(links).map(|link| store.put_if_absent(link, History::default()));
    assert!(put.buffered(64).all(async |put| put.unwrap()).await);
}

async fn get(store: &Arc<dyn Store>, text: &str) -> Option<Link> {
    store.get(&key(text)).await.unwrap().map(|record| (*record.link).clone())
}

async fn a_link_is_returned_as_it_was_stored(store: Arc<dyn Store>) {
    for link in [link("plain", "https://example.com/ü?q=1#f"), full_link(&"_-9Z".repeat(16))] {
        assert!(store.put_if_absent(link.clone(), History::default()).await.unwrap());
        let record = store.get(&link.key).await.unwrap().unwrap();
        assert_eq!((&*record.link, record.clicks, record.visits), (&link, 0, 0));
    }
}

async fn an_unknown_key_has_no_link(store: Arc<dyn Store>) {
    let key = key("nothing");
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.update(link("nothing", "https://example.com"), 1).await.unwrap(), Change::Missing);
    assert_eq!(store.delete(&key, revision(1)).await.unwrap(), Change::Missing);
    assert!(!store.use_visit(&key).await.unwrap());
    assert_eq!(store.day_counts(&key, date(2026, 1, 1), date(2026, 12, 31)).await.unwrap(), BTreeMap::new());
}

async fn the_first_link_keeps_its_key(store: Arc<dyn Store>) {
    let first = link("k", "https://first.example");
    put(&store, [first.clone()]).await;
    assert!(!store.put_if_absent(link("k", "https://second.example"), History::default()).await.unwrap());
    assert!(
        store.put_if_absent(link("K", "https://other.example"), History::default()).await.unwrap(),
        "keys are case-sensitive"
    );
    assert_eq!(get(&store, "k").await.as_ref(), Some(&first));
}

async fn one_of_64_tasks_that_race_for_a_key_wins(store: Arc<dyn Store>) {
    for round in 0..10 {
        let barrier = Arc::new(tokio::sync::Barrier::new(64));
        let tasks = (0..64).map(|task| {
            let (store, barrier) = (store.clone(), barrier.clone());
            tokio::spawn(async move {
                let link = link(&format!("race-{round}"), &format!("https://{task}.example"));
                barrier.wait().await;
                store.put_if_absent(link.clone(), History::default()).await.unwrap().then_some(link)
            })
        });
        let winners: Vec<_> = join_all(tasks).await.into_iter().filter_map(Result::unwrap).collect();
        let [winner] = &winners[..] else { panic!("{} tasks won", winners.len()) };
        assert_eq!(get(&store, winner.key.as_str()).await.as_ref(), Some(winner));
    }
}

async fn many_links_can_be_created_at_once(store: Arc<dyn Store>) {
    let links: Vec<_> = (0..2000).map(|n| link(&format!("n{n}"), &format!("https://{n}.example"))).collect();
    let put = join_all(links.iter().map(|link| store.put_if_absent(link.clone(), History::default()))).await;
    assert!(put.into_iter().all(|put| put.unwrap()));
    let found = join_all(links.iter().map(|link| store.get(&link.key))).await;
    for (link, found) in links.iter().zip(found) {
        assert_eq!(found.unwrap().map(|record| (*record.link).clone()).as_ref(), Some(link));
    }
}

/// Returns the revision of a test link with this version.
fn revision(version: u32) -> Revision {
    Revision { version, ..link("k", "https://example.com").revision() }
}

async fn an_edit_replaces_the_version_that_it_read(store: Arc<dyn Store>) {
    let old = link("k", "https://example.com");
    put(&store, [old.clone()]).await;
    let edited = Link { version: 2, created_at: old.created_at, ..full_link("k") };
    assert_eq!(store.update(edited.clone(), 1).await.unwrap(), Change::Done);
    assert_eq!(get(&store, "k").await.as_ref(), Some(&edited));
    assert_eq!(store.update(Link { version: 2, ..old.clone() }, 1).await.unwrap(), Change::Conflict);
    assert_eq!(get(&store, "k").await.as_ref(), Some(&edited));
    let plain = Link { version: 3, ..old };
    assert_eq!(store.update(plain.clone(), 2).await.unwrap(), Change::Done);
    assert_eq!(get(&store, "k").await.as_ref(), Some(&plain), "an edit can remove options");
}

async fn one_of_many_edits_of_a_version_wins(store: Arc<dyn Store>) {
    put(&store, [link("k", "https://example.com")]).await;
    let edits = (0..32).map(|n| {
        let edited = Link { version: 2, ..link("k", &format!("https://{n}.example")) };
        let store = store.clone();
        tokio::spawn(async move { (store.update(edited.clone(), 1).await.unwrap(), edited) })
    });
    let done: Vec<_> = join_all(edits).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = done.iter().filter(|(change, _)| *change == Change::Done).collect();
    let [(_, winner)] = &winners[..] else { panic!("{} edits won", winners.len()) };
    assert_eq!(get(&store, "k").await.as_ref(), Some(winner));
}

async fn a_link_at_the_maximum_version_is_kept_and_deleted_like_any_other(store: Arc<dyn Store>) {
    let last = Link { version: u32::MAX, ..link("k", "https://example.com") };
    put(&store, [last.clone()]).await;
    assert_eq!(get(&store, "k").await.as_ref(), Some(&last));
    assert_eq!(store.update(Link { version: 1, ..last.clone() }, 0).await.unwrap(), Change::Conflict);
    assert_eq!(store.delete(&key("k"), revision(u32::MAX - 1)).await.unwrap(), Change::Conflict);
    assert_eq!(get(&store, "k").await.as_ref(), Some(&last));
    assert_eq!(store.delete(&key("k"), revision(u32::MAX)).await.unwrap(), Change::Done);
}

async fn a_deleted_link_leaves_nothing_behind(store: Arc<dyn Store>) {
    let history = History { visits: 1, undated_clicks: 1, days: days([(1, r#"{"people":1}"#)]) };
    assert!(store.put_if_absent(full_link("k"), history).await.unwrap());
    assert_eq!(store.delete(&key("k"), revision(6)).await.unwrap(), Change::Conflict);
    assert_eq!(store.delete(&key("k"), revision(7)).await.unwrap(), Change::Done);
    assert_eq!(get(&store, "k").await, None);
    assert_eq!(store.delete(&key("k"), revision(7)).await.unwrap(), Change::Missing);
    let again = link("k", "https://again.example");
    put(&store, [again.clone()]).await;
    let record = store.get(&key("k")).await.unwrap().unwrap();
    assert_eq!((&*record.link, record.clicks, record.visits), (&again, 0, 0));
    assert_eq!(june(&store, "k", 1, 30).await, BTreeMap::new());
    for order in [Order::Newest, Order::Oldest, Order::MostClicked] {
        let listed = store.list(&Listing { order, limit: 10, ..Listing::default() }).await.unwrap().records;
        assert_eq!(listed.len(), usize::from(order != Order::MostClicked), "{order:?}");
    }
}

async fn numbers_are_unique_and_in_order(store: Arc<dyn Store>) {
    let block = store.take_numbers(10).await.unwrap();
    assert_eq!(block, FIRST_NUMBER..FIRST_NUMBER + 10);
    let blocks = join_all((1..=50).map(|count| store.take_numbers(count))).await;
    let numbers: HashSet<u64> = blocks.into_iter().flat_map(|block| block.unwrap()).collect();
    assert_eq!(numbers.len(), (1..=50).sum::<usize>());
    assert_eq!(*numbers.iter().min().unwrap(), FIRST_NUMBER + 10);
    assert_eq!(*numbers.iter().max().unwrap(), FIRST_NUMBER + 10 + 1275 - 1);
}

async fn an_open_store_responds(store: Arc<dyn Store>) {
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_fails_instead_of_hanging() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&sqlite_in(directory.path())).await;
    store.close().await;
    let refused = store.put_if_absent(link("k", "https://example.com"), History::default()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_row_is_distinguished_from_an_outage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&sqlite_in(directory.path())).await;
    put(&store, [link("good", "https://example.com"), link("bad", "https://example.com")]).await;
    let file = rusqlite::Connection::open(directory.path().join("links.db")).unwrap();
    file.execute(r#"UPDATE links SET doc = '{"target":"no url"}' WHERE key = 'bad'"#, ()).unwrap();
    let (bad, good) = (key("bad"), key("good"));
    let (bad, good) = tokio::join!(store.get(&bad), store.get(&good));
    assert!(matches!(bad, Err(StoreError::Corrupt(_))), "{bad:?}");
    assert!(good.unwrap().is_some(), "one bad row does not fail its batch");
}
