//! A journal of tallies that have not been added to the counts yet.
//!
//! Each batch of tallies is a row of the table `secrets`, which is the only table for bytes with a name. The journal
//! therefore needs no change to the schema, and earlier versions of this program can still use the file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{is_damage, rows::damaged};
use crate::{
    clicks::Tally,
    link::Key,
    observability::logging::Chain,
    store::{
        StoreError,
        row::{DayColumns, day, day_number},
    },
};

/// What the names of all batches start with. It contains the version of the format.
///
/// A batch's name continues with its number in [`DIGITS`] digits, a slash, and the first key in the batch.
const PREFIX: &str = "clicks-1/";
const DIGITS: usize = 20;

/// A name that is greater than those of all batches.
const END: &str = "clicks-1/:";

/// The name of the row that contains the [`Progress`] of a merge.
const PROGRESS: &str = "clicks-merge";

/// The number of tallies to merge in one transaction.
const STEP: usize = 1000;

/// A tally as stored in a batch, in the postcard format. Batches are sorted by key.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    key: &'a str,
    /// Milliseconds since the Unix epoch.
    created_at: i64,
    /// See [`day_number`].
    day: i32,
    counts: DayColumns,
}

impl TryFrom<Entry<'_>> for Tally {
    type Error = StoreError;

    fn try_from(entry: Entry<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: entry.key.parse().map_err(StoreError::corrupt)?,
            created_at: Timestamp::from_millisecond(entry.created_at).map_err(StoreError::corrupt)?,
            day: day(entry.day)?,
            counts: entry.counts.try_into()?,
        })
    }
}

/// Appends a batch, and returns its size in bytes.
///
/// `tallies` must be sorted by key.
pub(super) fn append(db: &Connection, tallies: &[Tally]) -> rusqlite::Result<usize> {
    let mut bytes = Vec::with_capacity(32 * tallies.len());
    for Tally { key, created_at, day, counts } in tallies {
        let entry = Entry {
            key: key.as_str(),
            created_at: created_at.as_millisecond(),
            day: day_number(*day),
            counts: DayColumns::try_from(counts).map_err(|error| damaged(0, error))?,
        };
        bytes = postcard::to_extend(&entry, bytes).map_err(|error| damaged(0, error))?;
    }
    let mut newest = db.prepare_cached("SELECT max(name) FROM secrets WHERE name BETWEEN ? AND ?")?;
    let newest: Option<String> = newest.query_row((PREFIX, END), |row| row.get(0))?;
    let number =
        newest.and_then(|name| name.get(PREFIX.len()..)?.get(..DIGITS)?.parse().ok()).unwrap_or(0_u64);
    let first_key = tallies.first().map_or("", |tally| tally.key.as_str());
    let name = format!("{PREFIX}{:0DIGITS$}/{first_key}", number + 1);
    db.prepare_cached("INSERT INTO secrets (name, value) VALUES (?, ?)")?.execute((name, &bytes))?;
    Ok(bytes.len())
}

/// How far a merge has come.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Progress {
    /// Identifies the merge. If two processes merge at the same time, only the one that started last continues.
    id: i64,
    /// The name of the last batch to merge.
    last: String,
    /// All tallies for keys up to this one have been added.
    key: String,
}

impl Progress {
    fn read(db: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut select = db.prepare_cached("SELECT value FROM secrets WHERE name = ?")?;
        let value = select.query_row([PROGRESS], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        value.map(|value| postcard::from_bytes(&value).map_err(|error| damaged(0, error))).transpose()
    }

    fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let value = postcard::to_extend(self, Vec::new()).map_err(|error| damaged(0, error))?;
        let mut replace = db.prepare_cached("REPLACE INTO secrets (name, value) VALUES (?, ?)")?;
        replace.execute((PROGRESS, value)).map(|_| ())
    }
}

/// A batch that is read tally by tally.
struct Batch {
    bytes: Vec<u8>,
    offset: usize,
}

impl Batch {
    /// Returns the next tally. A batch ends early at a tally that can't be parsed.
    fn next(&mut self) -> Option<Tally> {
        let bytes = self.bytes.get(self.offset..).filter(|bytes| !bytes.is_empty())?;
        let parsed = postcard::take_from_bytes::<Entry<'_>>(bytes).map_err(StoreError::corrupt);
        match parsed.and_then(|(entry, rest)| Ok((entry.try_into()?, self.bytes.len() - rest.len()))) {
            Ok((tally, offset)) => {
                self.offset = offset;
                Some(tally)
            }
            Err(error) => {
                note_damage(error.cause());
                None
            }
        }
    }
}

/// A merge of all batches that existed at its start.
///
/// It reads the batches in the order of their first keys, so that only a few are in memory at the same time.
pub(super) struct Merge {
    progress: Progress,
    /// True if the merge was interrupted. It may then not include the newest batches.
    pub(super) is_resumed: bool,
    /// The names of the batches that have not been read, by first key in descending order.
    unread: Vec<String>,
    /// The number of batches at the start.
    batches: usize,
    /// The next tally of each batch that has been read in part, and the rest of the batch.
    next: BTreeMap<(Key, usize), (Tally, Batch)>,
    /// The sums to add next, by link and day, sorted by key.
    sums: Vec<Tally>,
    /// True if the sums are added link by link, because one of the links is damaged.
    is_careful: bool,
}

/// The next step of a merge.
pub(super) enum Step<'a> {
    /// Add these tallies in the same transaction.
    Add(&'a [Tally]),
    Finished,
    /// Another process continues the merge.
    TakenOver,
}

impl Merge {
    /// Starts a merge, or resumes an interrupted one. Returns `None` if there is nothing to merge.
    pub(super) fn start(db: &Connection) -> rusqlite::Result<Option<Self>> {
        let interrupted = Progress::read(db)?;
        let is_resumed = interrupted.is_some();
        let end = interrupted.as_ref().map_or(END, |progress| &progress.last);
        let mut names =
            db.prepare_cached("SELECT name FROM secrets WHERE name BETWEEN ? AND ? ORDER BY name")?;
        let names = names.query_map((PREFIX, end), |row| row.get(0))?;
        let mut unread: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
        let newest = unread.last().map(|last| Progress { last: last.clone(), ..Progress::default() });
        let Some(mut progress) = interrupted.or(newest) else { return Ok(None) };
        progress.id = db.query_row("SELECT random()", (), |row| row.get(0))?;
        progress.write(db)?;
        unread.sort_by(|one, other| first_key(other).cmp(first_key(one)));
        let (batches, next, sums) = (unread.len(), BTreeMap::new(), Vec::new());
        Ok(Some(Self { progress, is_resumed, unread, batches, next, sums, is_careful: false }))
    }

    /// Returns the part of the batches that has been read, from 0 to 1.
    pub(super) fn part_read(&self) -> f64 {
        1.0 - self.unread.len() as f64 / self.batches.max(1) as f64
    }

    /// Returns the next step, and records it as done.
    ///
    /// Call [`Self::finish_step`] after the commit. Until then, this method returns the same step again.
    pub(super) fn next_step(&mut self, db: &Connection) -> rusqlite::Result<Step<'_>> {
        if Progress::read(db)?.is_none_or(|progress| progress.id != self.progress.id) {
            return Ok(Step::TakenOver);
        }
        if self.sums.is_empty() {
            self.is_careful = false;
            self.sum_up(db)?;
        }
        let Some(last) = self.step().last() else {
            let mut delete =
                db.prepare_cached("DELETE FROM secrets WHERE name BETWEEN ? AND ? OR name = ?")?;
            delete.execute((PREFIX, &self.progress.last, PROGRESS))?;
            return Ok(Step::Finished);
        };
        Progress { key: last.key.to_string(), ..self.progress.clone() }.write(db)?;
        Ok(Step::Add(self.step()))
    }

    /// Returns the tallies of the current step.
    pub(super) fn step(&self) -> &[Tally] {
        match &self.sums[..] {
            [first, ..] if self.is_careful => {
                &self.sums[..self.sums.partition_point(|sum| sum.key == first.key)]
            }
            sums => sums,
        }
    }

    pub(super) fn finish_step(&mut self) {
        self.sums.drain(..self.step().len());
    }

    /// Reduces the current step to a single link. Returns false if it can't be reduced.
    pub(super) fn reduce_step(&mut self) -> bool {
        let size = self.step().len();
        self.is_careful = true;
        self.step().len() < size
    }

    /// Sums up tallies until there are enough for a step. A link's tallies are not split.
    fn sum_up(&mut self, db: &Connection) -> rusqlite::Result<()> {
        loop {
            let next_key = self.next.first_key_value().map(|((key, _), _)| key.as_str());
            if self.unread.last().is_some_and(|name| next_key.is_none_or(|key| first_key(name) <= key)) {
                self.read_batch(db)?;
                continue;
            }
            let last_key = self.sums.last().map(|sum| sum.key.as_str());
            if self.sums.len() >= STEP && last_key != next_key {
                return Ok(());
            }
            let Some(((_, number), (tally, batch))) = self.next.pop_first() else { return Ok(()) };
            let mut same_key = self.sums.iter_mut().rev().take_while(|sum| sum.key == tally.key);
            match same_key.find(|sum| (sum.created_at, sum.day) == (tally.created_at, tally.day)) {
                Some(sum) => sum.counts.add(tally.counts),
                None => self.sums.push(tally),
            }
            self.advance(number, batch);
        }
    }

    /// Reads a batch. The clicks in a damaged one are lost.
    fn read_batch(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let Some(name) = self.unread.last() else { return Ok(()) };
        let mut select = db.prepare_cached("SELECT value FROM secrets WHERE name = ?")?;
        let bytes = match select.query_row([name], |row| row.get(0)) {
            Err(error) if is_damage(&error) => {
                note_damage(&error);
                Vec::new()
            }
            bytes => bytes?,
        };
        self.unread.pop();
        self.advance(self.unread.len(), Batch { bytes, offset: 0 });
        Ok(())
    }

    /// Moves on to the next tally in a batch that has not been added yet.
    fn advance(&mut self, number: usize, mut batch: Batch) {
        while let Some(tally) = batch.next() {
            if tally.key.as_str() > self.progress.key.as_str() {
                self.next.insert((tally.key.clone(), number), (tally, batch));
                return;
            }
        }
    }
}

/// Logs that the rest of a batch can't be read. The number of its clicks is unknown.
fn note_damage(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error = %Chain(error), "clicks lost: a batch in the journal is damaged");
}

/// Returns the first key in the batch with this name.
fn first_key(name: &str) -> &str {
    name.get(PREFIX.len() + DIGITS + 1..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::clicks::DayCounts;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("001.sql")).unwrap();
        db
    }

    fn tally(key: &str, people: u64) -> Tally {
        let (key, counts) = (key.parse().unwrap(), DayCounts { people, ..DayCounts::default() });
        Tally { key, created_at: Timestamp::UNIX_EPOCH, day: date(2026, 6, 1), counts }
    }

    fn tallies(keys: std::ops::Range<usize>) -> Vec<Tally> {
        keys.map(|number| tally(&format!("{number:05}"), 1)).collect()
    }

    /// Returns the next step, or `None` after the last one.
    fn next(merge: &mut Merge, db: &Connection) -> Option<Vec<Tally>> {
        let step = match merge.next_step(db).unwrap() {
            Step::Add(tallies) => tallies.to_vec(),
            Step::Finished => return None,
            Step::TakenOver => panic!("nothing else merges"),
        };
        merge.finish_step();
        Some(step)
    }

    fn names(db: &Connection) -> Vec<String> {
        let mut names = db.prepare("SELECT name FROM secrets ORDER BY name").unwrap();
        names.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn batches_are_summed_up_in_the_order_of_keys() {
        let db = database();
        assert!(Merge::start(&db).unwrap().is_none());
        for batch in [&["a", "c"][..], &["m", "z"], &["b", "c", "y"], &["c"]] {
            let batch: Vec<_> = batch.iter().map(|key| tally(key, 2)).collect();
            append(&db, &batch).unwrap();
        }
        assert_eq!(
            names(&db),
            ["1/a", "2/m", "3/b", "4/c"].map(|end| format!("clicks-1/0000000000000000000{end}"))
        );
        let mut merge = Merge::start(&db).unwrap().unwrap();
        let expected =
            [("a", 2), ("b", 2), ("c", 6), ("m", 2), ("y", 2), ("z", 2)].map(|(key, sum)| tally(key, sum));
        assert_eq!(next(&mut merge, &db).unwrap(), expected);
        assert_eq!(next(&mut merge, &db), None);
        assert_eq!(names(&db), [""; 0]);
    }

    #[test]
    fn an_interrupted_merge_is_resumed_where_it_stopped() {
        let db = database();
        append(&db, &tallies(0..800)).unwrap();
        append(&db, &tallies(500..1500)).unwrap();
        let mut first = Merge::start(&db).unwrap().unwrap();
        let mut added = next(&mut first, &db).unwrap();
        append(&db, &tallies(0..300)).unwrap();

        let mut second = Merge::start(&db).unwrap().unwrap();
        assert!(second.is_resumed && !first.is_resumed);
        assert!(matches!(first.next_step(&db).unwrap(), Step::TakenOver));
        added.extend(std::iter::from_fn(|| next(&mut second, &db)).flatten());
        let expected = tallies(0..1500).into_iter().enumerate().map(|(number, mut tally)| {
            tally.counts.people = if (500..800).contains(&number) { 2 } else { 1 };
            tally
        });
        assert_eq!(added, expected.collect::<Vec<_>>());

        let mut third = Merge::start(&db).unwrap().unwrap();
        assert_eq!(next(&mut third, &db).unwrap(), tallies(0..300), "the batch that came later");
        assert_eq!(next(&mut third, &db), None);
    }

    #[test]
    fn a_rolled_back_step_is_repeated_and_a_failing_one_is_reduced() {
        let db = database();
        append(&db, &tallies(0..3)).unwrap();
        let mut merge = Merge::start(&db).unwrap().unwrap();
        for _ in 0..2 {
            assert!(matches!(merge.next_step(&db).unwrap(), Step::Add(step) if step == tallies(0..3)));
        }
        assert!(merge.reduce_step());
        assert!(!merge.reduce_step(), "a single link is left");
        for number in 0..3 {
            assert_eq!(next(&mut merge, &db).unwrap(), tallies(number..number + 1));
        }
        assert_eq!(next(&mut merge, &db), None);
    }

    #[test]
    fn a_damaged_batch_affects_no_other() {
        let db = database();
        for first in [0, 10, 20] {
            append(&db, &tallies(first..first + 5)).unwrap();
        }
        let damage = "UPDATE secrets SET value = substr(value, 1, 30) WHERE name LIKE '%/00010'";
        assert_eq!(db.execute(damage, ()).unwrap(), 1);
        let mut merge = Merge::start(&db).unwrap().unwrap();
        let expected = [tallies(0..5), tallies(10..11), tallies(20..25)].concat();
        assert_eq!(next(&mut merge, &db).unwrap(), expected);
        assert_eq!(next(&mut merge, &db), None);
    }
}
