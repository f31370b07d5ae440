//! Measures filters over a million links: the time until the first page and until the last page.
//!
//! The benchmark also measures redirects during a search and during a take-down of 10,000 links, and the cost of the
//! index on targets.
//!
//! `cargo bench --bench search` fills SQLite, PostgreSQL and Redis, each in a temporary directory, and prints a table
//! for each. Each link has a random key, a random target, one of 20 tags and one of three creators. A tenth of the
//! links have clicks. `LINKS=100000` shortens the run, and `STORES=sqlite,redis` leaves out PostgreSQL. `ONLY=purge`
//! measures only redirects, first without a purge, then during a purge of 100,000 expired links.

#![expect(clippy::print_stdout, reason = "the tables are what the benchmark is for")]

mod links;
mod purge;
mod redirects;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use urlshort::{
    config::StoreOptions,
    link::LinkState,
    store::{
        self, Store,
        listing::{Filter, Listing, Order},
    },
};

use self::links::Links;

#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest of it")]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of links on a page.
const PAGE: usize = 500;

fn main() {
    let links = env::var("LINKS").map_or(1_000_000, |links| links.parse().expect("LINKS is a number"));
    let stores = env::var("STORES").unwrap_or_else(|_| "sqlite,postgres,redis".into());
    for name in stores.split(',') {
        println!("\n{name}, {links} links");
        match name {
            "sqlite" => {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let drop_index = || {
                    let file =
                        rusqlite::Connection::open(directory.path().join("links.db")).expect("the file");
                    file.execute("DROP INDEX links_by_target", ()).expect("the index");
                };
                measure(&support::sqlite_in(directory.path()), links, Some(&drop_index));
            }
            "postgres" => {
                let settings = ["fsync=on", "shared_buffers=512MB"].map(Into::into);
                let server = support::Postgres::start_with(|_| settings.into());
                let drop_index = || {
                    let url = server.url();
                    runtime().block_on(async {
                        let mut admin =
                            <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.expect("it runs");
                        sqlx::query("DROP INDEX links_by_target")
                            .execute(&mut admin)
                            .await
                            .expect("the index");
                    });
                };
                measure(&server.url(), links, Some(&drop_index));
            }
            "redis" => {
                let server = support::Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
                measure(&server.url(), links, None);
            }
            other => eprintln!("unknown store '{other}'"),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn measure(url: &str, count: u64, drop_index: Option<&dyn Fn()>) {
    let links = Links::new(count);
    let is_purge = env::var("ONLY").is_ok_and(|only| only == "purge");
    runtime().block_on(async {
        let store = open(url).await;
        links.put(&store, 0..count).await;
        if is_purge {
            return store.close().await;
        }
        links.click(&store, count).await;
        println!(
            "\n{:<34} {:>8} {:>12} {:>9} {:>12} {:>6}",
            "filter", "found", "first page", "searched", "to the end", "calls"
        );
        for (name, order, filter) in filters(&links, count) {
            report(&*store, name, order, filter).await;
        }
        store.close().await;
    });
    if is_purge {
        return purge::report(url, &links, count);
    }
    redirects::report(url, &links, count);
    if let Some(drop_index) = drop_index {
        let rate = |range| {
            runtime().block_on(async {
                let store = open(url).await;
                let start = Instant::now();
                let number = range_len(&range);
                links.put(&store, range).await;
                store.close().await;
                number / start.elapsed().as_secs_f64()
            })
        };
        let more = (count / 10).max(1000);
        let with_index = rate(count..count + more);
        drop_index();
        let without = rate(count + more..count + 2 * more);
        println!(
            "\ncreates/s by 64 clients: {with_index:.0} with the index on targets, {without:.0} without, ratio {:.2}",
            with_index / without
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has quadrillions of links")]
fn range_len(range: &std::ops::Range<u64>) -> f64 {
    (range.end - range.start) as f64
}

async fn open(url: &str) -> Arc<dyn Store> {
    let store_timeout = Duration::from_secs(30);
    let options = StoreOptions { store_timeout, ..StoreOptions::new(url.parse().expect("a store URL")) };
    store::open(&options).await.expect("a store")
}

/// Returns each filter on its own, and some combinations.
fn filters(links: &Links, count: u64) -> Vec<(&'static str, Order, Filter)> {
    let none = Filter::default();
    let search = |text: &str| Filter { search: text.parse().ok(), ..none.clone() };
    let tag = |text: &str| Filter { tag: text.parse().ok(), ..none.clone() };
    let by = |text: &str| Filter { created_by: text.parse().ok(), ..none.clone() };
    let state = |state| Filter { state: Some((state, Timestamp::now().into())), ..none.clone() };
    let url = Filter { target: Some(links.link(count / 2).doc.target), ..none.clone() };
    let newest = Order::Newest;
    vec![
        ("none", newest, none.clone()),
        ("url", newest, url.clone()),
        (
            "url that no link has",
            newest,
            Filter { target: "https://none.example".parse().ok(), ..none.clone() },
        ),
        ("search: in every target", newest, search("EXAMPLE")),
        ("search: the first link's title", newest, search("needle")),
        ("search: nothing", newest, search("haystack")),
        ("search: nothing, not ASCII", newest, search("Größe")),
        ("search: nothing, in documents", newest, search("created_by")),
        ("tag: one of 20", newest, tag("tag-07")),
        ("tag: none", newest, tag("tag-99")),
        ("by: a third", newest, by("anna")),
        ("by: public", newest, by("public")),
        ("by: none", newest, by("nobody")),
        ("state: active", newest, state(LinkState::Active)),
        ("state: scheduled", newest, state(LinkState::Scheduled)),
        ("state: expired", newest, state(LinkState::Expired)),
        ("state: used up", newest, state(LinkState::UsedUp)),
        ("state: taken down", newest, state(LinkState::TakenDown)),
        ("host: a suffix of all", newest, Filter { host: ".example".parse().ok(), ..none.clone() }),
        ("host: none", newest, Filter { host: ".evil.example".parse().ok(), ..none.clone() }),
        (
            "tag, by, state: expired",
            newest,
            Filter {
                created_by: by("anna").created_by,
                state: state(LinkState::Expired).state,
                ..tag("tag-07")
            },
        ),
        (
            "search: nothing, tag, by, active",
            newest,
            Filter {
                search: search("haystack").search,
                created_by: by("anna").created_by,
                state: state(LinkState::Active).state,
                ..tag("tag-07")
            },
        ),
        ("search, the oldest first", Order::Oldest, search("haystack")),
        ("none, most clicked", Order::MostClicked, none.clone()),
        ("tag, most clicked", Order::MostClicked, tag("tag-07")),
    ]
}

async fn report(store: &dyn Store, name: &str, order: Order, filter: Filter) {
    let mut listing = Listing { order, limit: PAGE, filter, ..Listing::default() };
    let (start, mut first, mut searched) = (Instant::now(), None, None);
    let (mut found, mut calls) = (0, 0);
    loop {
        let page = store.list(&listing).await.expect("a page");
        found += page.records.len();
        calls += 1;
        if first.is_none() {
            first = Some(start.elapsed());
            searched = page.searched;
        }
        listing.after = page.next;
        if listing.after.is_none() {
            break;
        }
    }
    let searched = searched.map_or_else(|| "all".into(), |number| number.to_string());
    println!(
        "{name:<34} {found:>8} {:>9.1} ms {searched:>9} {:>9.0} ms {calls:>6}",
        first.unwrap_or_default().as_secs_f64() * 1000.0,
        start.elapsed().as_secs_f64() * 1000.0,
    );
}
