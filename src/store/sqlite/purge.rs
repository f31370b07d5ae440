//! The removal of old counts by day.

use rusqlite::{Connection, OptionalExtension};

use crate::store::{DayCursor, DayPurge, PURGED_DAYS, PURGED_LINKS, listing::LAST_KEY, row::day_number};

/// A day of a link, by its key and number.
type KeyAndDay = (String, i32);

/// Returns old days of the next links that have counts, and the cursor behind them.
///
/// It only reads, so that the writer is not kept busy by links without old days.
pub(super) fn old_days(
    db: &Connection,
    purge: &DayPurge,
) -> rusqlite::Result<(Vec<KeyAndDay>, Option<DayCursor>)> {
    let (key, day) = purge.after.as_ref().map_or(("", i32::MIN), |after| (after.key.as_str(), after.day));
    let mut select =
        db.prepare_cached("SELECT key FROM counts WHERE key >= ? ORDER BY key LIMIT 1 OFFSET ?")?;
    let last = select.query_row((key, PURGED_LINKS - 1), |row| row.get::<_, String>(0)).optional()?;
    let end = last.as_deref().unwrap_or(LAST_KEY);
    // CROSS JOIN keeps the order of the loops: each link is one look-up in the table of days.
    let mut select = db.prepare_cached(
        "SELECT days.key, day FROM counts CROSS JOIN days ON days.key = counts.key AND day < ?1
         WHERE counts.key BETWEEN ?2 AND ?3 AND (counts.key > ?2 OR day > ?4)
         ORDER BY counts.key, day LIMIT ?5",
    )?;
    let parameters = (day_number(purge.before), key, end, day, PURGED_DAYS);
    let days = select.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let days = days.collect::<rusqlite::Result<Vec<KeyAndDay>>>()?;
    let next = match days.last() {
        Some((key, day)) if days.len() == PURGED_DAYS => Some(DayCursor { key: key.clone(), day: *day }),
        _ => last.map(|key| DayCursor { key, day: i32::MAX }),
    };
    Ok((days, next))
}

/// Removes days, and returns how many were still there.
pub(super) fn remove_days(db: &Connection, days: &[KeyAndDay]) -> rusqlite::Result<u64> {
    let mut delete = db.prepare_cached("DELETE FROM days WHERE key = ? AND day = ?")?;
    days.iter().try_fold(0, |sum, (key, day)| Ok(sum + delete.execute((key, day))? as u64))
}
