//! The benchmark's links. Each number always produces the same link.

use std::{num::NonZeroU32, ops::Range, sync::Arc};

use futures_util::{StreamExt, stream};
use jiff::{Timestamp, ToSpan, civil::date, tz::TimeZone};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use urlshort::{
    clicks::{DayCounts, Tally},
    link::{
        Link,
        options::{Options, Tags},
    },
    store::{History, Store},
};

use crate::support;

/// The number of clients that create links concurrently.
pub(crate) const CLIENTS: usize = 64;

/// One in this many links has clicks.
const CLICKED: usize = 10;

pub(crate) struct Links {
    first: Timestamp,
}

impl Links {
    /// Returns `count` links with creation times one second apart, ending now.
    pub(crate) fn new(count: u64) -> Self {
        let age = i64::try_from(count).expect("a number of links").seconds();
        let first = Timestamp::now() - age;
        Self { first: Timestamp::from_second(first.as_second()).expect("a time") }
    }

    pub(crate) fn link(&self, number: u64) -> Link {
        let mut rng = StdRng::seed_from_u64(number);
        let mut word = |length: usize| -> String {
            (0..length).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
        };
        let (key, host, path) = (word(7), word(6), word(40));
        let target = format!("https://www.{host}.example/articles/{path}?ref=newsletter");
        let mut link = Link::new(
            support::key(&key),
            support::target(&target),
            self.first + i64::try_from(number).expect("a link number").seconds(),
        );
        let tag = format!("tag-{:02}", rng.random_range(0..20));
        let creators = ["public", "anna", "ci"];
        link.doc.created_by = creators[rng.random_range(0..3)].parse().expect("a name");
        let (past, future) = (self.first, self.first + (200_000 * 24).hours());
        let percent = rng.random_range(0..100);
        let title = match number {
            0 => Some("A needle".parse().expect("a title")),
            _ if rng.random_range(0..2) == 0 => Some(format!("Article {path}").parse().expect("a title")),
            _ => None,
        };
        link.doc.options = Options {
            title,
            tags: Tags::parse([tag.as_str()]).expect("a tag"),
            expires_at: match percent {
                0..5 => Some(past),
                5..20 => Some(future),
                _ => None,
            },
            starts_at: (20..22).contains(&percent).then_some(future),
            max_visits: (percent == 22).then_some(NonZeroU32::MIN),
            ..Options::default()
        }
        .into();
        link.doc.taken_down_at = (percent == 23).then_some(past);
        link
    }

    pub(crate) async fn put(&self, store: &Arc<dyn Store>, numbers: Range<u64>) {
        let puts = stream::iter(numbers).map(|number| {
            let link = self.link(number);
            let visits = link.doc.options.max_visits.map_or(0, |max| u64::from(max.get()));
            store.put_if_absent(link, History { visits, ..History::default() })
        });
        let failed = puts.buffer_unordered(CLIENTS).filter(|put| std::future::ready(put.is_err()));
        assert_eq!(failed.count().await, 0, "links could not be created");
    }

    pub(crate) async fn click(&self, store: &Arc<dyn Store>, count: u64) {
        let day = Timestamp::now().to_zoned(TimeZone::UTC).date();
        assert!(day > date(2026, 1, 1));
        let mut tallies: Vec<_> = (0..count)
            .step_by(CLICKED)
            .map(|number| {
                let Link { key, created_at, .. } = self.link(number);
                Tally {
                    key,
                    created_at,
                    day,
                    counts: DayCounts { people: number % 1000 + 1, ..DayCounts::default() },
                }
            })
            .collect();
        tallies.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        for tallies in tallies.chunks(1000) {
            store.add_clicks(tallies.to_vec()).await.expect("clicks");
        }
    }
}
