//! Removal of old daily counts.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    RedisStore,
    layout::{Keys, key_text, number_of_day},
};
use crate::{
    link::Key,
    store::{DayCursor, DayPurge, PURGED_LINKS, PurgedDays, StoreError, listing::Order, row::day_number},
};

/// The number of links whose daily counts are read concurrently.
const AT_A_TIME: usize = 16;

/// The maximum number of counts deleted per command. While a command runs, it blocks all other clients.
const FIELDS: usize = 1000;

impl RedisStore {
    /// Removes old daily counts from the next links, starting with the oldest link.
    pub(super) async fn purge_part(&self, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
        let after = purge.after.as_ref().map(|after| after.key.as_str());
        let (members, is_last) = self.next_members(Order::Oldest, after, PURGED_LINKS).await?;
        // Skip a member without a valid key: it's damaged, and has no counts.
        let keys: Vec<Key> = members.iter().filter_map(|member| key_text(member).parse().ok()).collect();
        let days = stream::iter(keys).map(|key| async move { self.purge_link(key, purge).await });
        let days = days.buffer_unordered(AT_A_TIME);
        let days = days.try_fold(0, async |sum, days| Ok(sum + days)).await?;
        let next = members.into_iter().next_back().filter(|_| !is_last).map(|key| DayCursor { key, day: 0 });
        Ok(PurgedDays { days, next })
    }

    async fn purge_link(&self, key: Key, purge: &DayPurge) -> Result<u64, StoreError> {
        let (hash, before) = (Keys::new(&key).days, day_number(purge.before));
        let fields = match self.query::<Vec<String>>(&redis::Cmd::hkeys(&hash)).await {
            // Skip a damaged link, so that it does not make the whole purge fail.
            Err(StoreError::Corrupt(_)) => return Ok(0),
            fields => fields?,
        };
        let is_old = |field: &String| number_of_day(field).is_some_and(|day| day < before);
        let old: Vec<_> = fields.into_iter().filter(is_old).collect();
        let days: BTreeSet<_> = old.iter().filter_map(|field| number_of_day(field)).collect();
        if !purge.dry_run {
            for fields in old.chunks(FIELDS) {
                let _: u64 = self.query(&redis::Cmd::hdel(&hash, fields)).await?;
            }
        }
        Ok(days.len() as u64)
    }
}
