//! Calls that are made again, because of a conflict or because their answer was lost.

use futures_util::future::join_all;
use jiff::civil::date;
use tokio::join;
use urlshort::{
    clicks::{DayCount, Facet, Tally},
    store::{self, OpenOptions},
};

use crate::support::{Postgres, key, link};

/// A transaction that fails because of others runs again, without its client noticing.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_between_transactions_are_not_seen_outside() {
    let server = Postgres::start_with(|_| vec!["default_transaction_isolation=serializable".into()]);
    let open = async || store::open(&server.url().parse().unwrap(), &OpenOptions::default()).await.unwrap();
    let (one, other) = (open().await, open().await);
    assert!(one.put_if_absent(link("k", "https://example.com")).await.unwrap());
    let key = key("k");
    let people = DayCount { day: date(2026, 6, 1), facet: Facet::People, count: 1 };
    let both = [&one, &other].map(|store| {
        let (key, people) = (&key, &people);
        let visit = async move || {
            for _ in 0..50 {
                assert!(store.use_visit(key).await.unwrap());
            }
        };
        let count = async move || {
            for _ in 0..50 {
                let tally = Tally { key: key.clone(), counted: people.clone() };
                store.add_clicks(vec![tally]).await.unwrap();
            }
        };
        async move { join!(visit(), visit(), count()) }
    });
    join_all(both).await;
    let record = one.record(&key).await.unwrap().unwrap();
    assert_eq!((record.visits, record.clicks), (200, 100));
}
