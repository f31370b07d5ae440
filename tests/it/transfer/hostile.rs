//! Malicious import files.

use std::fs;

use serde_json::Value;

use super::{exported, import};
use crate::support::sqlite_in;

/// Returns a line in the service's own format, with additional JSON members.
fn line(key: &str, members: &str) -> String {
    format!("{{\"key\":\"{key}\",\"target\":\"https://example.com\"{members}}}\n")
}

#[test]
fn a_timestamp_that_cannot_be_stored_is_refused_in_every_layout() {
    const EDGE: &str = "9999-12-30T22:00:00.999Z";
    for file in [
        line("k", &format!(",\"created_at\":\"{EDGE}\"")),
        line("k", &format!(",\"expires_at\":\"{EDGE}\"")),
        line("k", &format!(",\"taken_down_at\":\"{EDGE}\"")),
        line("k", ",\"created_at\":\"-000001-01-01T00:00:00Z\""),
        format!("key,target,created_at\nk,https://example.com,{EDGE}\n"),
        format!("key,target,expires_at\nk,https://example.com,{EDGE}\n"),
        format!("key,target,taken_down_at\nk,https://example.com,{EDGE}\n"),
        format!("keyword,url,timestamp\nk,https://example.com,{EDGE}\n"),
        format!("shortCode,longUrl,createdAt\nk,https://example.com,{EDGE}\n"),
        format!("address,target,created_at\nk,https://example.com,{EDGE}\n"),
        format!("address,target,expire_in\nk,https://example.com,{EDGE}\n"),
        format!("[{{\"link\":\"sho.rt/k\",\"long_url\":\"https://example.com\",\"created_at\":\"{EDGE}\"}}]"),
        "[{\"shortlink\":\"k\",\"longlink\":\"https://example.com\",\"expiry_time\":-62167219201}]".into(),
        "[{\"shortlink\":\"k\",\"longlink\":\"https://example.com\",\"expiry_time\":253402207200001}]".into(),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let url = sqlite_in(directory.path());
        let (status, counts, skipped) = import(&url, file.as_bytes(), &[]);
        assert_eq!((status, counts.as_str()), (1, "0 added, 0 already there, 1 skipped"), "{file}");
        assert!(skipped.contains("time"), "{skipped}");
        assert_eq!(exported(&url), "", "{file}");
    }
}

#[test]
fn a_password_hash_that_is_too_costly_to_check_is_refused() {
    let with = |parameters: &str| {
        let hash =
            format!("$argon2id$v=19${parameters}$c29tZSBzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        line("k", &format!(",\"password\":\"{hash}\""))
    };
    for (parameters, status) in [
        ("m=19456,t=2,p=1", 0),
        ("m=4194304,t=2,p=1", 1),
        ("m=19456,t=4294967295,p=1", 1),
        ("m=131072,t=2,p=16777215", 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (code, _, skipped) = import(&sqlite_in(directory.path()), with(parameters).as_bytes(), &[]);
        assert_eq!(code, status, "{parameters}: {skipped}");
        assert_eq!(skipped.contains("password"), status == 1, "{skipped}");
    }
}

/// A terminal would interpret control characters, and could display something misleading.
#[test]
fn control_characters_in_a_file_do_not_reach_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let report = directory.path().join("report");
    let arguments = ["--report", report.to_str().unwrap()];
    let hostile = "\x1b[2J\u{9b}31m\x7f\u{202e}";
    let escaped = "\\u{1b}[2J\\u{9b}31m\\u{7f}\\u{202e}";
    let is_clean =
        |text: &str| text.chars().all(|char| char == '\n' || !char.is_control() && char != '\u{202e}');

    let unknown_field = line("k", &format!(",\"{}\":1", hostile.replace('\x1b', "\\u001b")));
    let (_, _, skipped) = import(&url, unknown_field.as_bytes(), &arguments);
    assert!(is_clean(&skipped) && skipped.contains(escaped), "{skipped:?}");
    let report = fs::read_to_string(report).unwrap();
    assert!(is_clean(&report), "{report:?}");
    let reason = serde_json::from_str::<Value>(&report).unwrap()["reason"].to_string();
    assert!(reason.contains("unknown field"), "{reason}");

    for file in [
        format!("key,target,expires_at\n{hostile},https://example.com,\n"),
        format!("key,target,expires_at\nk,https://example.com,{hostile}\n"),
        format!("na{hostile}me,phone\nx,1\n"),
    ] {
        let (status, _, stderr) = import(&url, file.as_bytes(), &[]);
        assert_eq!((status, is_clean(&stderr), stderr.contains("u{9b}31m")), (1, true, true), "{stderr:?}");
    }
}
