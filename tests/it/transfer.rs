//! `urlshort export` and `urlshort import`, run as the real program.

mod hostile;
mod layouts;
mod memory;
mod round_trip;

use std::{
    fs,
    io::Write,
    num::NonZeroU32,
    path::Path,
    process::{Command, Output, Stdio},
};

use jiff::{
    Timestamp,
    civil::{Date, date},
};
use serde_json::{Value, json};
use urlshort::{
    clicks::DayCounts,
    link::{
        Link,
        options::{Options, PasswordHash, RedirectStatus, Tags},
    },
    store::{History, Store},
};

use crate::support::{Process, key, link, open, sqlite_in, target, with};

/// Returns the command that runs the program on the store at `url`.
fn program(url: &str, arguments: &[&str]) -> Command {
    let mut command = Process::command(&[("STORE_URL", url)]);
    command.args(arguments);
    command
}

fn run(url: &str, arguments: &[&str]) -> Output {
    program(url, arguments).output().unwrap()
}

/// Returns the lines of an export, which must succeed.
#[track_caller]
fn exported(url: &str) -> String {
    let output = run(url, &["export"]);
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let count = lines.lines().count();
    let links = if count == 1 { "1 link".into() } else { format!("{count} links") };
    // Without a terminal, there is no progress output.
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, format!("urlshort: exported {links} to standard output\n"));
    lines
}

/// Imports `text`, and returns the exit status, the counts and the skipped rows.
#[track_caller]
fn import(url: &str, text: &[u8], arguments: &[&str]) -> (i32, String, String) {
    let mut command = program(url, &["import"]);
    command.args(arguments).arg("-");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Parses the counts for a day in June 2026 from JSON.
fn counts(day: i8, text: &str) -> (Date, DayCounts) {
    (date(2026, 6, day), serde_json::from_str(text).unwrap())
}

/// Creates two special links, and 3,000 plain links that fill several pages and chunks.
async fn fill(store: &dyn Store) {
    let options = Options {
        starts_at: Some("2026-02-03T04:05:06Z".parse().unwrap()),
        expires_at: Some("2999-12-31T23:59:59.999Z".parse().unwrap()),
        max_visits: NonZeroU32::new(10),
        redirect: RedirectStatus::PermanentRedirect,
        forward_query: true,
        gone_url: Some(target("https://gone.example")),
        title: Some("=Ünïcode, \"title\" 😀".parse().unwrap()),
        tags: Tags::parse(["b tag", "ä"]).unwrap(),
        password: Some(PasswordHash::from_phc(
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        )),
    };
    let full = link("-full", &format!("https://example.com/{}", "x".repeat(2000)));
    let mut full = Link { version: 7, ..with(options, full) };
    full.doc.created_by = "anna".parse().unwrap();
    full.doc.taken_down_at = Some("1969-12-31T23:59:59.999Z".parse().unwrap());
    let days = [
        counts(1, r#"{"people":3,"bots":5,"devices":{"mobile":2,"other":1}}"#),
        counts(2, r#"{"people":4,"referrers":{"news.example":4}}"#),
    ];
    let history = History { visits: 6, undated_clicks: 10, days: days.into() };
    assert!(store.put_if_absent(full, history).await.unwrap());
    let bots = History { days: [counts(3, r#"{"bots":1}"#)].into(), ..History::default() };
    assert!(store.put_if_absent(link("bots", "https://example.com"), bots).await.unwrap());
    let links = (0..3000).map(|n| {
        // Seven links share each timestamp, so that keys break ties at page boundaries.
        let created_at = Timestamp::from_millisecond(1_700_000_000_000 + n / 7).unwrap();
        store.put_if_absent(
            Link { created_at, ..link(&format!("k{n}"), &format!("https://{n}.example")) },
            History::default(),
        )
    });
    assert!(futures_util::future::join_all(links).await.into_iter().all(|put| put.unwrap()));
}

#[test]
fn a_skipped_row_is_reported_with_its_line_and_reason() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let (report, blocked) = (directory.path().join("report"), directory.path().join("blocked"));
    fs::write(&blocked, "evil.example").unwrap();
    let rules = ["--base-url", "https://sho.rt", "--blocked-hosts", blocked.to_str().unwrap()];
    let file = "key,target,gone_url\n\
        a,https://a.example\n\
        shorten,https://b.example\n\
        a,https://c.example\n\
        d,https://sho.rt/a\n\
        e,https://evil.example\n\
        f,ftp://f.example\n\
        g/h,https://g.example\n\
        a,https://a.example\n\
        j,https://j.example,https://evil.example\n";
    let arguments = [&rules[..], &["--report", report.to_str().unwrap()]].concat();
    let (status, counts, skipped) = import(&url, file.as_bytes(), &arguments);
    assert_eq!((status, counts.as_str()), (1, "1 added, 1 already there, 7 skipped"));
    let expected = [
        ("line 3, shorten", "the key is reserved"),
        ("line 4, a", "the key already has another target"),
        ("line 5, d", "the url leads back to this service"),
        ("line 6, e", "links to this host are not allowed"),
        ("line 7", "a valid http(s) url is required"),
        ("line 8", "invalid key \"g/h\": a key is 1 to 64 characters of A-Z a-z 0-9 _ -"),
        ("line 10, j", "gone_url: links to this host are not allowed"),
    ];
    let lines = expected.map(|(place, reason)| format!("urlshort: skipped {place}: {reason}"));
    assert_eq!(skipped.lines().collect::<Vec<_>>(), lines);
    let report = fs::read_to_string(report).unwrap();
    let reported = report.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let reported: Vec<_> = reported.map(|line| (line["line"].clone(), line["reason"].clone())).collect();
    assert_eq!(
        reported,
        [3, 4, 5, 6, 7, 8, 10]
            .into_iter()
            .zip(expected)
            .map(|(line, (_, reason))| (json!(line), json!(reason)))
            .collect::<Vec<_>>()
    );
    assert_eq!(exported(&url).lines().count(), 1);
}

#[test]
fn many_skipped_lines_are_counted_and_all_are_in_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let file = "{\"key\":\"k\"}\n".repeat(1000);
    let arguments = ["--format", "jsonl", "--report", report.to_str().unwrap()];
    let (status, counts, skipped) = import(&sqlite_in(directory.path()), file.as_bytes(), &arguments);
    assert_eq!((status, counts.as_str()), (1, "0 added, 0 already there, 1000 skipped"));
    assert_eq!(skipped.lines().count(), 21);
    assert_eq!(
        skipped.lines().last().unwrap(),
        "urlshort: skipped 980 more; --report FILE lists all of them"
    );
    assert_eq!(fs::read_to_string(report).unwrap().lines().count(), 1000);
}

#[test]
fn a_dry_run_changes_nothing_and_reports_what_it_would_do() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    assert_eq!(import(&url, b"key,target\na,https://a.example\n", &[]).0, 0);
    let file = "key,target\na,https://a.example\na,https://other.example\nb,https://b.example\n";
    let (status, counts, _) = import(&url, file.as_bytes(), &["--dry-run"]);
    assert_eq!((status, counts.as_str()), (1, "1 to add, 1 already there, 1 skipped"));
    assert_eq!(exported(&url).lines().count(), 1);
}

#[test]
fn a_killed_import_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let file: String = (0..20_000)
        .map(|n| format!("{{\"key\":\"k{n}\",\"target\":\"https://{n}.example\",\"undated_clicks\":1}}\n"))
        .collect();
    let mut child = program(&url, &["import", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // When the program is killed, it has stored some of these lines and is still processing others.
    input.write_all(&file.as_bytes()[..file.len() / 2]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let before = exported(&url).lines().count();
    assert!((1..20_000).contains(&before), "{before} links were stored");
    let (status, counts, _) = import(&url, file.as_bytes(), &[]);
    let expected = format!("{} added, {before} already there, 0 skipped", 20_000 - before);
    assert_eq!((status, counts), (0, expected));
    let lines = exported(&url);
    assert!(lines.lines().all(|line| line.contains("\"undated_clicks\":1,")), "nothing was counted twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_export_has_all_fields_and_can_be_imported() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let store = open(&url).await;
    fill(&*store).await;
    let mut full = (*store.get(&key("-full")).await.unwrap().unwrap().link).clone();
    full.key = key("-open");
    full.doc.options.password = None;
    let history = History { visits: 6, undated_clicks: 17, ..History::default() };
    store.put_if_absent(full, history).await.unwrap();
    store.close().await;
    let file = directory.path().join("links.csv");
    let output = run(&url, &["export", "--format", "csv", "--output", file.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, format!("urlshort: exported 3003 links to {}\n", file.display()));
    let rows = fs::read_to_string(&file).unwrap();
    assert!(rows.lines().all(|row| !row.starts_with(['-', '='])), "no cell is a formula");
    let row = rows.split("\r\n").find(|row| row.starts_with("'-full,")).unwrap();
    let expected = format!(
        "'-full,https://example.com/{},taken_down,17,2026-01-02T03:04:05.678Z,anna,1969-12-31T23:59:59.999Z,6,7,1,\
         2026-02-03T04:05:06.000Z,2999-12-31T23:59:59.999Z,10,308,true,\"'=Ünïcode, \"\"title\"\" 😀\",\"b tag,ä\",https://gone.example/,true",
        "x".repeat(2000)
    );
    assert_eq!(row, expected);

    let copy = tempfile::tempdir().unwrap();
    let copied = sqlite_in(copy.path());
    let (status, counts, skipped) = import(&copied, rows.as_bytes(), &[]);
    assert_eq!((status, counts.as_str()), (1, "3002 added, 0 already there, 1 skipped"));
    assert!(skipped.ends_with("the link has a password that can't be imported"), "{skipped}");
    let without_days = |lines: String| -> Vec<String> {
        let lines = lines.lines().filter(|line| !line.contains("\"days\"")).map(Into::into);
        lines.collect()
    };
    let expected = without_days(exported(&url));
    assert!(expected.iter().any(|line| line.contains("\"key\":\"-open\"")));
    let mut found = without_days(exported(&copied));
    found.retain(|line| !line.contains("\"key\":\"bots\""));
    assert!(found == expected, "everything but passwords and daily counts is back");
}

#[test]
fn a_wrong_command_line_prints_one_line_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (url, there) = (sqlite_in(directory.path()), directory.path().join("there.csv"));
    fs::write(&there, "name,phone\n").unwrap();
    let there = there.to_str().unwrap();
    for (url, arguments, status, expected) in [
        ("memory:", &["export"][..], 1, "STORE_URL: the memory: store lives inside the running service"),
        ("memory:", &["import", there], 1, "STORE_URL: the memory: store lives inside the running service"),
        (&url, &["export"], 1, "STORE_URL: there is no file"),
        (&url, &["import", "--dry-run", there], 1, "STORE_URL: there is no file"),
        (&url, &["import"], 2, "required arguments were not provided: <FILE>"),
        (&url, &["import", "--format", "xml", there], 2, "urlshort: --format: 'xml': takes auto, jsonl"),
        (&url, &["export", "--format", "yourls"], 2, "urlshort: --format: 'yourls': takes jsonl or csv"),
        (&url, &["import", "/nonexistent/file"], 1, "/nonexistent/file can't be opened: No such file"),
        (
            &url,
            &["import", "--report", "/nonexistent/file", there],
            1,
            "/nonexistent/file can't be written: No such",
        ),
    ] {
        let output = run(url, arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(status), 1), "{line}");
        assert!(line.contains(expected), "{line}");
        assert!(output.stdout.is_empty());
        assert!(!Path::new(&directory.path().join("links.db")).exists(), "{arguments:?} creates nothing");
    }
    let unknown = run(&url, &["import", there]);
    let expected =
        "urlshort: not a known export: expected columns key, target or key, url; found name, phone\n";
    assert_eq!(
        (unknown.status.code(), String::from_utf8(unknown.stderr).unwrap().as_str()),
        (Some(1), expected)
    );
}

#[test]
fn a_file_without_links_fails_unless_it_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let none = "0 added, 0 already there, 0 skipped";
    let reason = "urlshort: no links found: the file is not empty, but has no row below its header, and no object \
        in a list (in JSON, the list is the file itself or is named data or links)";
    for (file, status, expected) in [
        ("", 0, ""),
        ("\n\n", 0, ""),
        ("key,target\n", 1, reason),
        ("[]", 1, reason),
        ("{\"urls\":[{\"shortlink\":\"a\",\"longlink\":\"https://a.example\"}]}", 1, reason),
    ] {
        assert_eq!(import(&url, file.as_bytes(), &[]), (status, none.into(), expected.into()), "{file:?}");
    }
}

#[test]
fn a_truncated_file_is_imported_up_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let broken = br#"[{"shortlink":"a","longlink":"https://a.example"},{"shortlink":"b","#;
    let (status, counts, error) = import(&url, broken, &[]);
    assert_eq!((status, counts.as_str()), (1, "1 added, 0 already there, 0 skipped"));
    assert!(error.starts_with("urlshort: invalid JSON: EOF"), "{error}");
    assert_eq!(exported(&url).lines().count(), 1);
}
