//! Dividing visits by key, in steps that don't delay requests on the same core.

use std::{collections::HashMap, time::Duration};

use ahash::RandomState;
use tokio::time::sleep;

use super::tallies::{Batch, Visit};
use crate::link::Key;

/// The minimum size of a step, in visits. A step of this size takes about a tenth of a millisecond.
const MIN_STEP: usize = 250;

/// The maximum number of steps.
const MAX_STEPS: usize = 100;

/// The number of keys per part from which the bounds of the parts are chosen. With more keys, the parts' sizes differ
/// less.
const SAMPLES: usize = 8;

/// Visits in parts of about equal size that don't have keys in common.
pub(super) struct Parts {
    /// A stack: the keys in each part are greater than those in the parts above it.
    stack: Vec<Batch>,
    max_size: usize,
}

impl Parts {
    /// Divides visits, and sleeps for `breather` after each step.
    pub(super) async fn divide(visits: HashMap<Visit, u64, RandomState>, breather: Duration) -> Self {
        let step = visits.len().div_ceil(MAX_STEPS).max(MIN_STEP);
        // The order of a hash table is random, so its first keys are a random sample.
        let sample = visits.keys().take(visits.len() / step * SAMPLES);
        let mut sample: Vec<Key> = sample.map(|visit| visit.key.clone()).collect();
        sample.sort_unstable_by(|one, other| other.cmp(one));
        let bounds: Vec<Key> = sample.into_iter().step_by(SAMPLES).skip(1).collect();
        let mut stack: Vec<Batch> = (0..=bounds.len()).map(|_| Vec::with_capacity(step)).collect();
        let mut visits = visits.into_iter();
        while visits.len() > 0 {
            for (visit, count) in visits.by_ref().take(step) {
                stack[bounds.partition_point(|bound| *bound > visit.key)].push((visit, count));
            }
            sleep(breather).await;
        }
        Self { stack, max_size: 2 * step }
    }

    /// Removes and returns the part with the smallest keys.
    ///
    /// If a part is too large, it is divided, and its parts can have a key in common.
    pub(super) fn pop(&mut self) -> Option<Batch> {
        loop {
            let mut part = self.stack.pop()?;
            if part.len() > self.max_size {
                let middle = part.len() / 2;
                part.select_nth_unstable_by(middle, |(one, _), (other, _)| one.key.cmp(&other.key));
                let second = part.split_off(middle);
                self.stack.extend([second, part]);
            } else if !part.is_empty() {
                return Some(part);
            }
        }
    }

    /// Returns the remaining visits.
    pub(super) fn into_rest(self) -> impl Iterator<Item = (Visit, u64)> {
        self.stack.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date};

    use super::*;
    use crate::clicks::Visitor;

    fn visit(key: &str, created_at: i32) -> (Visit, u64) {
        let created_at = Timestamp::constant(created_at.into(), 0);
        (Visit { key: key.parse().unwrap(), created_at, day: date(2026, 6, 1), visitor: Visitor::Bot }, 1)
    }

    async fn divide(visits: impl Iterator<Item = (Visit, u64)>) -> Parts {
        Parts::divide(visits.collect(), Duration::ZERO).await
    }

    /// Returns the first key, the last key and the size of each part.
    fn take_all(mut parts: Parts) -> Vec<(String, String, usize)> {
        let describe = |part: Batch| {
            let keys = || part.iter().map(|(visit, _)| visit.key.to_string());
            (keys().min().unwrap(), keys().max().unwrap(), part.len())
        };
        std::iter::from_fn(|| parts.pop()).map(describe).collect()
    }

    #[tokio::test]
    async fn parts_are_in_order_and_no_key_is_in_two_of_them() {
        let parts = divide((0..20_000).map(|number| visit(&format!("{number:05}"), 0))).await;
        assert!(parts.stack.iter().all(|part| part.len() <= 5 * MIN_STEP), "the sizes are about equal");
        let parts = take_all(parts);
        assert_eq!(parts.iter().map(|(_, _, size)| size).sum::<usize>(), 20_000);
        assert!(parts.is_sorted_by(|(_, last, _), (first, _, _)| last < first), "{parts:?}");
        assert!(parts.iter().all(|(_, _, size)| *size <= 2 * MIN_STEP), "{parts:?}");
        assert!((60..160).contains(&parts.len()), "{parts:?}");
    }

    #[tokio::test]
    async fn many_visits_with_one_key_are_divided_too() {
        let others = ["a", "c"].map(|key| visit(key, 0));
        let parts = take_all(divide((0..5000).map(|number| visit("b", number)).chain(others)).await);
        assert_eq!(parts.iter().map(|(_, _, size)| size).sum::<usize>(), 5002);
        assert!(parts.is_sorted_by(|(_, last, _), (first, _, _)| last <= first), "{parts:?}");
        assert!(parts.iter().all(|(_, _, size)| *size <= 2 * MIN_STEP), "{parts:?}");
    }

    #[tokio::test]
    async fn no_visits_have_no_parts() {
        assert_eq!(take_all(divide(std::iter::empty()).await), []);
    }
}
