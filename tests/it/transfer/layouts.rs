//! Files from other services, in the layouts documented in `src/transfer/layouts.rs`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{exported, import, sqlite_in};

/// Imports a file, and checks the links and the skipped rows.
///
/// The import runs twice: once with the detected format, and once with the format given explicitly.
#[track_caller]
fn check(file: &str, format: &str, expected: &[Value], expected_skips: &[&str]) {
    for format in ["auto", format] {
        let directory = tempfile::tempdir().unwrap();
        let url = sqlite_in(directory.path());
        let before = Timestamp::now().as_millisecond();
        let (status, counts, skipped) = import(&url, file.as_bytes(), &["--format", format]);
        let after = Timestamp::now().as_millisecond();
        let skips: Vec<_> =
            skipped.lines().map(|line| line.trim_start_matches("urlshort: skipped ")).collect();
        assert_eq!(skips, expected_skips);
        assert_eq!(status, i32::from(!skips.is_empty()));
        assert_eq!(counts, format!("{} added, 0 already there, {} skipped", expected.len(), skips.len()));

        let mut found: Vec<Value> =
            exported(&url).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for link in &mut found {
            let created: Timestamp = link["created_at"].as_str().unwrap().parse().unwrap();
            if (before..=after).contains(&created.as_millisecond()) {
                link["created_at"] = "now".into();
            }
            let members = link.as_object_mut().unwrap();
            assert_eq!(members.remove("version"), Some(json!(1)));
            assert_eq!(members.remove("created_by"), Some(json!("import")));
        }
        let by_key = |link: &Value| link["key"].as_str().unwrap().to_owned();
        found.sort_by_key(by_key);
        assert_eq!(found, expected);
        assert!(exported(&url).lines().all(|line| !line.contains("203.0.113")), "no IP address is kept");
    }
}

#[test]
fn exports_of_yourls_are_imported() {
    check(
        include_str!("yourls-table.csv"),
        "yourls",
        &[
            json!({"key": "docs", "target": "https://example.com/docs?a=1,2", "created_at": "2024-05-06T07:08:09.000Z",
                "title": "The \"docs\", at last", "undated_clicks": 42}),
            json!({"key": "old", "target": "http://example.org/", "created_at": "2011-12-13T14:15:16.000Z"}),
        ],
        &[],
    );
    check(
        include_str!("yourls-mysql.tsv"),
        "yourls",
        &[
            json!({"key": "docs", "target": "https://example.com/docs", "created_at": "2024-05-06T07:08:09.000Z",
                "title": "The docs", "undated_clicks": 42}),
            json!({"key": "old", "target": "http://example.org/", "created_at": "2011-12-13T14:15:16.000Z"}),
        ],
        &[],
    );
    check(
        include_str!("yourls-plugin.csv"),
        "yourls",
        &[
            json!({"key": "docs", "target": "https://example.com/docs?a=1,2", "created_at": "now",
                "undated_clicks": 42}),
            json!({"key": "old", "target": "http://example.org/", "created_at": "now"}),
        ],
        &[],
    );
}

#[test]
fn exports_of_shlink_are_imported() {
    check(
        include_str!("shlink.csv"),
        "shlink",
        &[
            json!({"key": "abc12", "target": "https://example.org/", "created_at": "2023-01-02T03:04:05.000Z"}),
            json!({"key": "docs", "target": "https://example.com/docs", "created_at": "2024-05-06T05:08:09.000Z",
                "title": "The docs, at last", "tags": ["a tag", "handbook"], "undated_clicks": 42}),
        ],
        &["line 4: invalid key \"team/sub\": a key is 1 to 64 characters of A-Z a-z 0-9 _ -"],
    );
}

#[test]
fn exports_of_kutt_are_imported() {
    let expected = [
        json!({"key": "bad", "target": "https://example.org/", "created_at": "2023-01-02T03:04:05.000Z",
            "taken_down_at": "2023-01-03T00:00:00.000Z", "undated_clicks": 7}),
        json!({"key": "docs", "target": "https://example.com/docs", "created_at": "2024-05-06T07:08:09.123Z",
            "title": "The docs", "expires_at": "2030-01-01T00:00:00.000Z", "undated_clicks": 42}),
    ];
    let reason = "the link has a password that can't be imported";
    check(include_str!("kutt-api.json"), "kutt", &expected, &[&format!("link 3: {reason}")]);
    check(include_str!("kutt-table.csv"), "kutt", &expected, &[&format!("line 4: {reason}")]);
}

#[test]
fn exports_of_bitly_are_imported() {
    check(
        include_str!("bitly-list.csv"),
        "bitly",
        &[
            json!({"key": "3AbCdEf", "target": "https://example.com/docs", "created_at": "2024-05-06T07:08:09.000Z",
                "title": "The docs, at last", "tags": ["a tag", "handbook"], "undated_clicks": 42}),
            json!({"key": "spring", "target": "https://example.org/", "created_at": "2023-01-02T03:04:05.000Z"}),
        ],
        &[],
    );
    check(
        include_str!("bitly-links.csv"),
        "bitly",
        &[
            json!({"key": "4BcDeFg", "target": "https://example.org/", "created_at": "now"}),
            json!({"key": "docs", "target": "https://example.com/docs", "created_at": "now"}),
        ],
        &[],
    );
    check(
        include_str!("bitly-api.json"),
        "bitly",
        &[
            json!({"key": "4BcDeFg", "target": "https://example.org/", "created_at": "2023-01-02T03:04:05.000Z"}),
            json!({"key": "docs", "target": "https://example.com/docs", "created_at": "2024-05-06T07:08:09.000Z",
                "title": "The docs", "tags": ["a tag", "handbook"]}),
        ],
        &[],
    );
}

#[test]
fn exports_of_chhoto_are_imported() {
    let expected = [
        json!({"key": "docs", "target": "https://example.com/docs", "created_at": "now", "title": "The docs",
            "expires_at": "2030-01-01T00:00:00.000Z", "undated_clicks": 42}),
        json!({"key": "old", "target": "https://example.org/", "created_at": "now"}),
    ];
    check(include_str!("chhoto-api.json"), "chhoto", &expected, &[]);
    check(include_str!("chhoto-table.csv"), "chhoto", &expected, &[]);
}
