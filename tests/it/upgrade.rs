//! Data from builds before 1.0.

use std::{fs, path::Path, process::Output};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Process, sqlite_in};

fn run(url: &str, arguments: &[&str]) -> Output {
    Process::command(&[("STORE_URL", url)]).args(arguments).output().unwrap()
}

/// Creates a file as an early build did.
fn create_early_file(file: &Path) {
    let database = Connection::open(file).unwrap();
    database
        .execute_batch(
            "PRAGMA application_id = 0x75726c73; PRAGMA user_version = 1; PRAGMA journal_mode = wal;
             CREATE TABLE links (key TEXT PRIMARY KEY, target TEXT NOT NULL) STRICT;
             INSERT INTO links VALUES ('k', 'https://example.com/');",
        )
        .unwrap();
}

#[test]
fn a_file_of_an_early_build_is_refused_with_the_commands_that_migrate_it() {
    let directory = tempfile::tempdir().unwrap();
    let (url, file) = (sqlite_in(directory.path()), directory.path().join("links.db"));
    create_early_file(&file);
    let before = fs::read(&file).unwrap();
    for arguments in [&[][..], &["export"], &["import", "/dev/null"]] {
        let output = run(&url, arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
        for advice in ["urlshort export --output links.jsonl", "urlshort import links.jsonl"] {
            assert!(line.contains(advice), "{line}");
        }
    }
    assert!(fs::read(&file).unwrap() == before, "the file is unchanged");
}

/// Commit bb0954a wrote the export.
#[test]
fn an_export_of_an_early_build_is_imported_in_full() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transfer/early-build.jsonl");
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let imported = run(&url, &["import", file.to_str().unwrap()]);
    assert_eq!(
        (imported.status.code(), String::from_utf8(imported.stdout).unwrap().trim()),
        (Some(0), "3 added, 0 already there, 0 skipped")
    );
    let lines =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let mut expected = lines(&fs::read_to_string(&file).unwrap());
    for link in expected.iter_mut().map(|link| link.as_object_mut().unwrap()) {
        for (_, value) in link.iter_mut().filter(|(name, _)| name.ends_with("_at")) {
            let time: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
            *value = format!("{time:.3}").into();
        }
        if link["redirect"] == json!(302) {
            link.remove("redirect");
        }
    }
    let exported = String::from_utf8(run(&url, &["export"]).stdout).unwrap();
    assert_eq!(lines(&exported), expected);
}
