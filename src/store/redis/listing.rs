//! Listings: pages merged from all buckets.

use std::time::Instant;

use futures_util::future::{join_all, try_join_all};

use super::{RedisStore, layout};
use crate::store::{
    Record, Store, StoreError,
    listing::{Listing, Order, Page},
};

/// The number of links that a search reads at a time. Between reads, the server can handle other requests.
const SLICE: usize = 500;

impl RedisStore {
    /// Returns a page of links. See [`Store::list`].
    pub(super) async fn page(&self, listing: &Listing) -> Result<Page, StoreError> {
        let Listing { order, after, limit, filter, search_time } = listing;
        // There is no index on targets, because it would need a sorted set per target.
        let is_search = filter.is_search() || filter.target.is_some();
        let deadline = Instant::now() + *search_time;
        let mut page = Page::default();
        let mut after = after.as_ref().map(|cursor| layout::member(*order, cursor.position, &cursor.key));
        let mut searched = 0;
        loop {
            let count = if is_search { SLICE } else { limit - page.records.len() };
            let (members, is_last) = self.next_members(*order, after.as_deref(), count).await?;
            let records = join_all(members.iter().map(|member| self.record_of(member))).await;
            let mut left = members.iter().zip(records);
            for (member, record) in left.by_ref() {
                searched += 1;
                after = Some(member.clone());
                match record.transpose() {
                    // Skip a link that was removed in the meantime.
                    None => {}
                    Some(Ok(record)) if !filter.matches(&record) => {}
                    Some(record) => page.push(record, || layout::key_text(member).to_owned())?,
                }
                if page.records.len() == *limit {
                    break;
                }
            }
            let is_full = page.records.len() == *limit;
            if is_last && left.len() == 0 {
                return Ok(page);
            }
            if is_full || (is_search && Instant::now() >= deadline) {
                page.next = after.as_deref().and_then(|member| layout::cursor(*order, member));
                page.searched = (!is_full).then_some(searched);
                if page.next.is_some() {
                    return Ok(page);
                }
            }
        }
    }

    /// Returns at most `limit` members after `after`, and whether they are the last.
    ///
    /// It merges the next members of all buckets. A bucket that returns its full share may have further members, which
    /// come after the last member that it returned. The merged list is therefore complete only up to the earliest of
    /// these last members, and ends there.
    pub(super) async fn next_members(
        &self,
        order: Order,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), StoreError> {
        let per_bucket = layout::share_of(limit);
        let requests = layout::buckets().map(|bucket| {
            let command = layout::next_members(bucket, order, after, per_bucket);
            async move { self.query::<Vec<String>>(&command).await }
        });
        let (mut members, mut horizon) = (Vec::new(), None);
        for bucket in try_join_all(requests).await? {
            if bucket.len() == per_bucket {
                let last = bucket.last().cloned();
                horizon = layout::first(order, horizon, last);
            }
            members.extend(bucket);
        }
        layout::sort(order, &mut members);
        let is_last = horizon.is_none() && members.len() <= limit;
        if let Some(horizon) = horizon {
            members.truncate(
                members.iter().position(|member| *member == horizon).map_or(members.len(), |at| at + 1),
            );
        }
        members.truncate(limit);
        Ok((members, is_last))
    }

    async fn record_of(&self, member: &str) -> Result<Option<Record>, StoreError> {
        self.get(&layout::key_text(member).parse().map_err(StoreError::corrupt)?).await
    }
}
