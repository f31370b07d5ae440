//! Merging the journal of clicks into the counts.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{
    journal::{self, Batch, first_key},
    pacer::Pacer,
    rows::damaged,
};
use crate::{clicks::Tally, link::Key};

/// The name of the row that contains the [`Progress`] of a merge. Like the journal, it is in the table `secrets`.
const PROGRESS: &str = "clicks-merge";

/// The number of tallies to add in one transaction. The commit of a larger one would delay requests for too long.
const STEP: usize = 250;

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

    fn remove(db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("DELETE FROM secrets WHERE name = ?")?.execute([PROGRESS]).map(|_| ())
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
        let mut unread = journal::names(db, interrupted.as_ref().map(|progress| &*progress.last))?;
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
    pub(super) fn next_step(&mut self, db: &Connection, pacer: &mut Pacer<'_>) -> rusqlite::Result<Step<'_>> {
        if Progress::read(db)?.is_none_or(|progress| progress.id != self.progress.id) {
            return Ok(Step::TakenOver);
        }
        if self.sums.is_empty() {
            self.is_careful = false;
            self.sum_up(db, pacer)?;
        }
        let Some(last) = self.step().last() else {
            journal::remove(db, &self.progress.last)?;
            Progress::remove(db)?;
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
    fn sum_up(&mut self, db: &Connection, pacer: &mut Pacer<'_>) -> rusqlite::Result<()> {
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
            pacer.pause_if_due();
        }
    }

    fn read_batch(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let Some(name) = self.unread.last() else { return Ok(()) };
        let batch = Batch::read(db, name)?;
        self.unread.pop();
        self.advance(self.unread.len(), batch);
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

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date};

    use super::*;
    use crate::clicks::DayCounts;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("001.sql")).unwrap();
        db
    }

    fn pacer() -> Pacer<'static> {
        Pacer::new(&|| true)
    }

    fn append(db: &Connection, tallies: &[Tally]) {
        journal::append(db, tallies, &mut pacer()).unwrap();
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
        let step = match merge.next_step(db, &mut pacer()).unwrap() {
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
            append(&db, &batch);
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
        append(&db, &tallies(0..800));
        append(&db, &tallies(500..1500));
        let mut first = Merge::start(&db).unwrap().unwrap();
        let mut added = next(&mut first, &db).unwrap();
        append(&db, &tallies(0..200));

        let mut second = Merge::start(&db).unwrap().unwrap();
        assert!(second.is_resumed && !first.is_resumed);
        assert!(matches!(first.next_step(&db, &mut pacer()).unwrap(), Step::TakenOver));
        added.extend(std::iter::from_fn(|| next(&mut second, &db)).flatten());
        let expected = tallies(0..1500).into_iter().enumerate().map(|(number, mut tally)| {
            tally.counts.people = if (500..800).contains(&number) { 2 } else { 1 };
            tally
        });
        assert_eq!(added, expected.collect::<Vec<_>>());

        let mut third = Merge::start(&db).unwrap().unwrap();
        assert_eq!(next(&mut third, &db).unwrap(), tallies(0..200), "the batch that came later");
        assert_eq!(next(&mut third, &db), None);
    }

    #[test]
    fn a_rolled_back_step_is_repeated_and_a_failing_one_is_reduced() {
        let db = database();
        append(&db, &tallies(0..3));
        let mut merge = Merge::start(&db).unwrap().unwrap();
        for _ in 0..2 {
            assert!(
                matches!(merge.next_step(&db, &mut pacer()).unwrap(), Step::Add(step) if step == tallies(0..3))
            );
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
            append(&db, &tallies(first..first + 5));
        }
        let damage = "UPDATE secrets SET value = substr(value, 1, 30) WHERE name LIKE '%/00010'";
        assert_eq!(db.execute(damage, ()).unwrap(), 1);
        let mut merge = Merge::start(&db).unwrap().unwrap();
        let expected = [tallies(0..5), tallies(10..11), tallies(20..25)].concat();
        assert_eq!(next(&mut merge, &db).unwrap(), expected);
        assert_eq!(next(&mut merge, &db), None);
    }
}
