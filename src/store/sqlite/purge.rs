//! Removal of old daily counts.

use rusqlite::{Connection, OptionalExtension};

use crate::store::{DayCursor, DayPurge, PURGED_DAYS, PURGED_LINKS, listing::LAST_KEY, row::day_number};

/// A link's key and a day number (see [`day_number`]).
type KeyAndDay = (String, i32);

/// Returns the next batch of old days, and the cursor to continue from.
///
/// This function only reads, so that links without old days don't keep the writer busy.
pub(super) fn old_days(
    db: &Connection,
    purge: &DayPurge,
) -> rusqlite::Result<(Vec<KeyAndDay>, Option<DayCursor>)> {
    let (key, day) = purge.after.as_ref().map_or(("", i32::MIN), |after| (after.key.as_str(), after.day));
    let mut select =
        db.prepare_cached("SELECT key FROM counts WHERE key >= ? ORDER BY key LIMIT 1 OFFSET ?")?;
    let last = select.query_row((key, PURGED_LINKS - 1), |row| row.get::<_, String>(0)).optional()?;
    let end = last.as_deref().unwrap_or(LAST_KEY);
    // CROSS JOIN fixes the order of the loops, so that SQLite does one lookup in `days` per link.
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

/// Deletes daily counts, and returns the number of deleted rows.
pub(super) fn remove_days(db: &Connection, days: &[KeyAndDay]) -> rusqlite::Result<u64> {
    let mut delete = db.prepare_cached("DELETE FROM days WHERE key = ? AND day = ?")?;
    days.iter().try_fold(0, |sum, (key, day)| Ok(sum + delete.execute((key, day))? as u64))
}
