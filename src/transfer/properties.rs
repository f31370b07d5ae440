//! Property tests: readers never panic, and both export formats survive a round trip.

use std::{collections::BTreeMap, io::Write, num::NonZeroU32};

use clap::ValueEnum;
use jiff::{Timestamp, civil::date};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    Entry, Format, RowError, jsonl,
    reader::read,
    row::{ReadError, Row},
    spreadsheet,
};
use crate::{
    clicks::{DayCounts, Device, Visitor},
    link::{
        Link,
        options::{Options, RedirectStatus, Tags},
        time::whole_milliseconds,
    },
    store::History,
    strategies::text,
};

/// A valid file in each layout.
const FILES: [&[u8]; 12] = [
    include_bytes!("../../tests/it/transfer/bitly-api.json"),
    include_bytes!("../../tests/it/transfer/bitly-links.csv"),
    include_bytes!("../../tests/it/transfer/bitly-list.csv"),
    include_bytes!("../../tests/it/transfer/chhoto-api.json"),
    include_bytes!("../../tests/it/transfer/chhoto-table.csv"),
    include_bytes!("../../tests/it/transfer/kutt-api.json"),
    include_bytes!("../../tests/it/transfer/kutt-table.csv"),
    include_bytes!("../../tests/it/transfer/shlink.csv"),
    include_bytes!("../../tests/it/transfer/yourls-mysql.tsv"),
    include_bytes!("../../tests/it/transfer/yourls-plugin.csv"),
    include_bytes!("../../tests/it/transfer/yourls-table.csv"),
    b"{\"key\":\"a\",\"target\":\"https://a.example\",\"days\":{\"2026-06-01\":{\"people\":3}}}\n\
      {\"key\":\"b\",\"target\":\"https://b.example\",\"expires_at\":\"2030-01-01T00:00:00Z\",\"tags\":[\"x\"]}\n",
];

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn format() -> impl Strategy<Value = Format> {
    select(Format::value_variants().to_vec())
}

/// Reads a file, and checks that a store can hold each of its links.
fn rows(file: &[u8], format: Format) -> Result<(Vec<Row>, Option<ReadError>), TestCaseError> {
    let mut rows = Vec::new();
    let end = read(file, format, NOW, |row| {
        rows.push(row);
        Ok(())
    });
    for row in &rows {
        if let Ok(Entry { link, history }) = &row.entry {
            for time in [Some(link.created_at), link.doc.options.expires_at, link.doc.taken_down_at]
                .into_iter()
                .flatten()
            {
                prop_assert_eq!(whole_milliseconds(time), Ok(time));
            }
            prop_assert!(history.visits <= i64::MAX.unsigned_abs());
        }
    }
    Ok((rows, end.err()))
}

/// A change that damages a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 1..8),
        select(vec![
            "\"",
            "\"\"",
            ",",
            "\n",
            "\r",
            "\t",
            "{",
            "]",
            "\\u0000",
            "null",
            "-1",
            "99999999999999999999",
            "\u{feff}",
            "9999-12-30T22:00:00.999Z",
            "-009999-01-01",
            "0000-00-00 00:00:00",
            "253402300799",
            "1e400"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let one = prop_oneof![
        (any::<usize>(), 1..=u8::MAX).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Damage::Cut(at, length)),
        (any::<usize>(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ];
    vec(one, 1..5)
}

fn damaged(file: &[u8], changes: &[Damage]) -> Vec<u8> {
    let mut file = file.to_vec();
    for change in changes {
        let position = |at: usize| at % file.len().max(1);
        let end = |start: usize, length: usize| (start + length).min(file.len());
        match change {
            Damage::Flip(at, bits) => {
                let at = position(*at);
                file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
            }
            Damage::Cut(at, length) => drop(file.drain(position(*at)..end(position(*at), *length))),
            Damage::Insert(at, piece) => {
                let at = position(*at).min(file.len());
                drop(file.splice(at..at, piece.iter().copied()));
            }
            Damage::Repeat(at, length) => {
                let start = position(*at);
                let piece = file[start.min(file.len())..end(start, *length)].to_vec();
                drop(file.splice(start..start, piece));
            }
        }
    }
    file
}

fn milliseconds() -> impl Strategy<Value = Timestamp> {
    let range = -62_167_219_200_000..=253_402_207_200_000_i64;
    range.prop_map(|millisecond| Timestamp::from_millisecond(millisecond).unwrap())
}

fn target() -> impl Strategy<Value = String> {
    text("https?://[a-z]{1,10}\\.example(:[0-9]{1,4})?/[!-~]{0,20}")
}

prop_compose! {
    fn link()(
        key in text("[A-Za-z0-9_-]{1,64}"), target in target(), created_at in milliseconds(),
        expires_at in option::of(milliseconds()), taken_down_at in option::of(milliseconds()),
        max_visits in option::of(1..=u32::MAX), code in select(vec![301_u16, 302, 307, 308]), forward_query in any::<bool>(),
        title in option::of(text("[=+@'\"-]?\\PC{0,30}")), tags in vec(text("[^,\\pC]{1,10}"), 0..4), version in 1..=u32::MAX,
    ) -> Link {
        let tags: Vec<_> = tags.iter().map(String::as_str).filter(|tag| !tag.trim().is_empty()).collect();
        let mut link = Link::new(key.parse().unwrap(), target.parse().unwrap(), created_at);
        link.version = version;
        link.doc.taken_down_at = taken_down_at;
        link.doc.options = Options {
            expires_at,
            max_visits: max_visits.and_then(NonZeroU32::new),
            redirect: RedirectStatus::try_from(code).unwrap(),
            forward_query,
            title: title.and_then(|title| title.parse().ok()),
            tags: Tags::parse(tags).unwrap(),
            ..Options::default()
        }
        .into();
        link
    }
}

fn visitor() -> impl Strategy<Value = Visitor> {
    let devices = select(vec![Device::Desktop, Device::Mobile, Device::Tablet, Device::Other]);
    let referrers = option::of(text("[a-z0-9-]{1,20}\\.example").prop_map(|host| host.parse().unwrap()));
    let person = (devices, referrers).prop_map(|(device, referrer)| Visitor::Person { device, referrer });
    prop_oneof![Just(Visitor::Bot), person]
}

fn history() -> impl Strategy<Value = History> {
    let day = (0..=9999_i16, 1..=12_i8, 1..=28_i8).prop_map(|(year, month, day)| date(year, month, day));
    let visits = vec((day, visitor(), 1..1_000_000_u64), 0..6);
    (0..1_000_000_u64, 0..1_000_000_u64, visits).prop_map(|(visits, undated_clicks, dated)| {
        let mut days = BTreeMap::<_, DayCounts>::new();
        for (day, visitor, count) in dated {
            days.entry(day).or_default().count(visitor, count);
        }
        History { visits, undated_clicks, days }
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(file in vec(any::<u8>(), 0..200), format in format()) {
        rows(&file, format)?;
    }

    #[test]
    fn no_text_makes_a_reader_panic(file in text("[\\[{\"']?[-{}\\[\\]:,;\"'\\\\a-z0-9 \t\r\nA-Z=]{0,80}"), format in format()) {
        rows(file.as_bytes(), format)?;
    }

    #[test]
    fn a_damaged_file_yields_only_valid_links(
        file in select(FILES.to_vec()), changes in damage(), is_known in any::<bool>(), format in format(),
    ) {
        let format = if is_known { Format::Auto } else { format };
        rows(&damaged(file, &changes), format)?;
    }

    #[test]
    fn a_bad_line_is_reported_and_its_neighbours_are_read(before in link(), noise in text("[^\n]{1,40}"), after in link()) {
        let mut file = Vec::new();
        let entry = |link: &Link| Entry { link: link.clone(), history: History::default() };
        jsonl::write(entry(&before), &mut file).unwrap();
        let is_blank = noise.trim_ascii().is_empty();
        writeln!(file, "{noise}").unwrap();
        jsonl::write(entry(&after), &mut file).unwrap();
        let (rows, end) = rows(&file, Format::Jsonl)?;
        prop_assert!(end.is_none());
        let entries: Vec<Result<Entry, RowError>> = rows.into_iter().map(|row| row.entry).collect();
        prop_assert_eq!(entries.len(), if is_blank { 2 } else { 3 });
        prop_assert_eq!(entries.first().unwrap(), &Ok(entry(&before)));
        prop_assert_eq!(entries.last().unwrap(), &Ok(entry(&after)));
    }

    #[test]
    fn jsonl_keeps_everything(link in link(), history in history()) {
        let entry = Entry { link, history };
        let mut file = Vec::new();
        jsonl::write(entry.clone(), &mut file).unwrap();
        for format in [Format::Auto, Format::Jsonl] {
            let (rows, end) = rows(&file, format)?;
            prop_assert!(end.is_none() && rows.len() == 1);
            prop_assert_eq!(rows[0].entry.as_ref(), Ok(&entry));
        }
    }

    #[test]
    fn csv_keeps_every_link(link in link(), clicks in 0..u64::from(u32::MAX), visits in 0..u64::from(u32::MAX)) {
        let entry = Entry { link, history: History { visits, undated_clicks: clicks, days: BTreeMap::new() } };
        let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        table.write_record(spreadsheet::header()).unwrap();
        spreadsheet::write(&entry, NOW, &mut table).unwrap();
        let (rows, end) = rows(&table.into_inner().unwrap(), Format::Auto)?;
        prop_assert!(end.is_none() && rows.len() == 1);
        prop_assert_eq!(rows[0].entry.as_ref(), Ok(&entry));
    }
}
