//! Removal of old daily counts.

use sqlx::PgConnection;

use crate::store::{DayCursor, DayPurge, PURGED_DAYS, PURGED_LINKS, PurgedDays, StoreError, row::day_number};

pub(super) async fn days(connection: &mut PgConnection, purge: &DayPurge) -> Result<PurgedDays, StoreError> {
    let (key, day) = purge.after.as_ref().map_or(("", i32::MIN), |after| (after.key.as_str(), after.day));
    let last =
        format!("SELECT key FROM counts WHERE key >= $1 ORDER BY key LIMIT 1 OFFSET {}", PURGED_LINKS - 1);
    let last: Option<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(last)).bind(key).fetch_optional(&mut *connection).await?;
    // The subquery's limit tells the planner how few links it has to join.
    let old = format!(
        "SELECT days.key, day FROM (SELECT key FROM counts WHERE key >= $1 ORDER BY key LIMIT {PURGED_LINKS}) AS part
         JOIN days USING (key) WHERE day < $2 AND (key > $1 OR day > $3) ORDER BY key, day LIMIT {PURGED_DAYS}"
    );
    let old = sqlx::query_as(sqlx::AssertSqlSafe(old)).bind(key).bind(day_number(purge.before)).bind(day);
    let old: Vec<(String, i32)> = old.fetch_all(&mut *connection).await?;
    let next = match old.last() {
        Some((key, day)) if old.len() == PURGED_DAYS => Some(DayCursor { key: key.clone(), day: *day }),
        _ => last.map(|key| DayCursor { key, day: i32::MAX }),
    };
    if old.is_empty() || purge.dry_run {
        return Ok(PurgedDays { days: old.len() as u64, next });
    }
    let (keys, days): (Vec<_>, Vec<_>) = old.into_iter().unzip();
    let delete = sqlx::query(
        "DELETE FROM days WHERE (key, day) IN (SELECT * FROM unnest($1::text[], $2::integer[]) AS old (key, day))",
    );
    let deleted = delete.bind(keys).bind(days).execute(connection).await?;
    Ok(PurgedDays { days: deleted.rows_affected(), next })
}
