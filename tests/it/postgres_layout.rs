//! Guarantees specific to the PostgreSQL store: schemas, locks and damaged rows.

use std::{num::NonZeroU32, sync::Arc};

use futures_util::future::join_all;
use jiff::{
    ToSpan,
    civil::{Date, date},
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::join;
use urlshort::{
    clicks::{DayCounts, Tally},
    config::StoreOptions,
    link::{Link, options::Options},
    store::{self, Change, History, Store, StoreError},
};

use crate::support::{Postgres, link, with};

const DAY: Date = date(2026, 6, 1);

/// Creates the table of migrations, without any.
const HISTORY: &str =
    "CREATE TABLE schema_history (version BIGINT PRIMARY KEY, readable_from BIGINT NOT NULL)";

/// Counts the tables.
const TABLES: &str = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";

async fn open(server: &Postgres) -> Arc<dyn Store> {
    store::open(&StoreOptions::new(server.url().parse().unwrap())).await.unwrap()
}

async fn run(server: &Postgres, sql: &'static str) {
    PgConnection::connect(&server.url()).await.unwrap().execute(sql).await.unwrap();
}

async fn number(server: &Postgres, select: &'static str) -> i64 {
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query_scalar(select).fetch_one(&mut admin).await.unwrap()
}

/// Opens the store, which must fail, and returns the error.
async fn refusal(server: &Postgres) -> String {
    match store::open(&StoreOptions::new(server.url().parse().unwrap())).await.map(drop) {
        Err(StoreError::Unavailable(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

fn people(link: &Link, people: u64) -> Tally {
    let counts = DayCounts { people, ..DayCounts::default() };
    Tally { key: link.key.clone(), created_at: link.created_at, day: DAY, counts }
}

fn limited(text: &str, max_visits: u32) -> Link {
    let options = Options { max_visits: NonZeroU32::new(max_visits), ..Options::default() };
    with(options, link(text, "https://example.com"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_early_build_is_refused_and_left_unchanged() {
    for table in [
        "CREATE TABLE schema_version (version BIGINT PRIMARY KEY)",
        "CREATE TABLE schema (version BIGINT PRIMARY KEY, readable_from BIGINT NOT NULL)",
    ] {
        let server = Postgres::start();
        run(&server, table).await;
        run(&server, "CREATE TABLE links (key TEXT PRIMARY KEY, target TEXT NOT NULL)").await;
        let advice = refusal(&server).await;
        assert!(advice.contains("urlshort export") && advice.contains("urlshort import"), "{advice}");
        assert_eq!(number(&server, TABLES).await, 2, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_build_started_by_mistake_locks_nobody_out() {
    let server = Postgres::start();
    open(&server).await.close().await;
    run(&server, "CREATE TABLE schema_version (version BIGINT PRIMARY KEY)").await;
    open(&server).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_the_same_time_create_the_tables_once() {
    // Migrate a new database, and one whose next migration is the first.
    for before in ["SELECT", HISTORY] {
        let server = Postgres::start();
        run(&server, before).await;
        let stores = join_all((0..8).map(|_| open(&server))).await;
        let blocks = join_all(stores.iter().map(|store| store.take_numbers(1))).await;
        let mut firsts: Vec<_> = blocks.into_iter().map(|block| block.unwrap().start).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, (store::FIRST_NUMBER..).take(8).collect::<Vec<_>>());
        assert_eq!(number(&server, "SELECT count(*) FROM schema_history").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_leaves_the_database_unchanged() {
    let server = Postgres::start();
    run(&server, HISTORY).await;
    // The migration creates this table after the others.
    run(&server, "CREATE TABLE blocked_hosts (host TEXT)").await;
    assert_eq!(refusal(&server).await, "relation \"blocked_hosts\" already exists");
    assert_eq!(number(&server, TABLES).await, 2);
    assert_eq!(number(&server, "SELECT count(*) FROM schema_history").await, 0);
    run(&server, "DROP TABLE blocked_hosts").await;
    open(&server).await.close().await;
}

/// After the flush, another instance can still delete the damaged link and count clicks on other links.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_finds_a_damaged_day_leaves_no_locks() {
    let server = Postgres::start();
    let (one, other) = (open(&server).await, open(&server).await);
    let (bad, good) = (link("bad", "https://example.com"), link("good", "https://example.com"));
    for link in [&bad, &good] {
        assert!(one.put_if_absent(link.clone(), History::default()).await.unwrap());
    }
    one.add_clicks(vec![people(&bad, 1), people(&good, 1)]).await.unwrap();
    run(&server, "UPDATE days SET people = -1 WHERE key = 'bad'").await;
    let failed = one.add_clicks(vec![people(&bad, 1), people(&good, 1)]).await;
    assert!(matches!(failed, Err(StoreError::Corrupt(_))), "{failed:?}");
    other.add_clicks(vec![people(&good, 1)]).await.unwrap();
    assert_eq!(other.get(&good.key).await.unwrap().unwrap().clicks, 2, "the failed call is rolled back");
    assert_eq!(other.delete(&bad.key, bad.revision()).await.unwrap(), Change::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_visits_fail_only_their_own_link() {
    let server = Postgres::start();
    let store = open(&server).await;
    for (n, damage) in [
        "UPDATE counts SET visits = -5 WHERE key LIKE 'bad%'",
        "UPDATE counts SET visits = -9223372036854775808 WHERE key LIKE 'bad%'",
        "UPDATE links SET doc = jsonb_set(doc, '{max_visits}', '-1') WHERE key LIKE 'bad%'",
        "UPDATE links SET doc = jsonb_set(doc, '{max_visits}', '0') WHERE key LIKE 'bad%'",
        "UPDATE links SET doc = jsonb_set(doc, '{max_visits}', '1.5') WHERE key LIKE 'bad%'",
        "UPDATE links SET doc = jsonb_set(doc, '{max_visits}', '4294967296') WHERE key LIKE 'bad%'",
        "UPDATE links SET doc = jsonb_set(doc, '{max_visits}', '99999999999999999999') WHERE key LIKE 'bad%'",
        "UPDATE links SET doc = jsonb_set(doc, '{max_visits}', '\"many\"') WHERE key LIKE 'bad%'",
    ]
    .into_iter()
    .enumerate()
    {
        let links = ["bad", "good"].map(|text| limited(&format!("{text}{n}"), 1000));
        for link in &links {
            let history = History { visits: 1, ..History::default() };
            assert!(store.put_if_absent(link.clone(), history).await.unwrap());
        }
        run(&server, damage).await;
        // Make many concurrent calls, so that some of them share a batch.
        let [bad, good] = links.map(|link| link.key);
        let (bad, good) = join!(
            join_all((0..20).map(|_| store.use_visit(&bad))),
            join_all((0..20).map(|_| store.use_visit(&good))),
        );
        assert!(bad.iter().all(|used| matches!(used, Err(StoreError::Corrupt(_)))), "{damage}: {bad:?}");
        assert!(good.iter().all(|used| matches!(used, Ok(true))), "{damage}: {good:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_never_exceed_a_visit_limit() {
    let server = Postgres::start();
    let (one, other) = (open(&server).await, open(&server).await);
    for round in 0..20 {
        // A new link doesn't have a row of counts yet.
        let link = limited(&format!("k{round}"), 10);
        assert!(one.put_if_absent(link.clone(), History::default()).await.unwrap());
        let visits = (0..60).map(|n| {
            let (store, key) = (if n % 2 == 0 { one.clone() } else { other.clone() }, link.key.clone());
            tokio::spawn(async move { store.use_visit(&key).await.unwrap() })
        });
        let clicks = async {
            for _ in 0..5 {
                other.add_clicks(vec![people(&link, 1)]).await.unwrap();
            }
        };
        let (used, ()) = join!(join_all(visits), clicks);
        assert_eq!(used.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 10);
        let record = one.get(&link.key).await.unwrap().unwrap();
        assert_eq!((record.visits, record.clicks), (10, 5));
    }
}

/// Clicks on the old link are written while another instance deletes and recreates the link.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_recreated_during_a_flush_inherits_nothing() {
    let server = Postgres::start();
    let (one, other) = (open(&server).await, open(&server).await);
    for round in 0..100 {
        let old = link(&format!("k{round}"), "https://example.com/old");
        let new = Link { created_at: old.created_at + 1.millisecond(), ..old.clone() };
        let history = History { undated_clicks: u64::from(round % 2 == 0), ..History::default() };
        assert!(one.put_if_absent(old.clone(), history).await.unwrap());
        let flush = async {
            for _ in 0..4 {
                one.add_clicks(vec![people(&old, 1)]).await.unwrap();
            }
        };
        let replace = async {
            assert_eq!(other.delete(&old.key, old.revision()).await.unwrap(), Change::Done);
            assert!(other.put_if_absent(new.clone(), History::default()).await.unwrap());
        };
        join!(flush, replace);
        let record = one.get(&old.key).await.unwrap().unwrap();
        assert_eq!((&*record.link, record.clicks, record.visits), (&new, 0, 0));
        assert!(one.day_counts(&old.key, DAY, DAY).await.unwrap().is_empty());
        assert_eq!(number(&server, "SELECT count(*) FROM counts").await, 0, "round {round}");
    }
}

/// Two instances concurrently flush clicks and count limited visits for the same links.
#[tokio::test(flavor = "multi_thread")]
async fn writes_of_two_instances_do_not_deadlock() {
    let server = Postgres::start_with(|_| vec!["log_lock_waits=on".into()]);
    let (one, other) = (open(&server).await, open(&server).await);
    let links: Vec<_> = (0..20).map(|n| limited(&format!("k{n:02}"), 1_000_000)).collect();
    for link in &links {
        assert!(one.put_if_absent(link.clone(), History::default()).await.unwrap());
    }
    let work = |store: Arc<dyn Store>| {
        let links = links.clone();
        async move {
            for _ in 0..20 {
                let tallies = links.iter().map(|link| people(link, 1)).collect();
                let flush = async { store.add_clicks(tallies).await.unwrap() };
                let visits = join_all(links.iter().rev().map(|link| store.use_visit(&link.key)));
                let (_, used) = join!(flush, visits);
                assert!(used.into_iter().all(|used| used.unwrap()));
            }
        }
    };
    join!(work(one.clone()), work(other.clone()));
    for link in &links {
        let record = one.get(&link.key).await.unwrap().unwrap();
        assert_eq!((record.clicks, record.visits), (40, 40));
    }
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    admin.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    assert_eq!(sqlx::query_scalar::<_, i64>(deadlocks).fetch_one(&mut admin).await.unwrap(), 0);
}
