//! The real program's command line and environment.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::{Command, Output},
};

use crate::support::{Process, free_port, sqlite_in};

fn output(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Process::command(variables).args(arguments).output().unwrap()
}

/// Asserts that the program has failed, and returns its error line.
///
/// It must have printed exactly one line to standard error, and nothing to standard output.
#[track_caller]
fn refusal(output: &Output, status: i32) -> String {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    line
}

#[test]
fn a_bad_value_is_reported_in_one_line_that_names_the_variable() {
    let cases = [
        ("HOST", "localhost", "takes an IP address: 127.0.0.1 or ::1 for this machine only"),
        ("PORT", "70000", "takes a whole number from 0 to 65535"),
        ("PORT", "abc", "takes a whole number from 0 to 65535"),
        ("METRICS_ADDR", "localhost:9090", "takes an IP address and a port, such as 127.0.0.1:9090"),
        ("BASE_URL", "sho.rt", "absolute http(s) url"),
        ("BASE_URL", "https://sho.rt/?x", "absolute http(s) url"),
        ("TRUSTED_PROXIES", "x", "takes a whole number from 0 to 255"),
        ("ABUSE_CONTACT", "javascript:alert(1)", "takes an e-mail address, or a URL that begins with"),
        ("STORE_URL", "mysql://x", "takes memory:, sqlite:PATH, postgres://… or redis://…"),
        ("STORE_URL", "sqlite::memory:", "takes memory:, sqlite:PATH, postgres://… or redis://…"),
        ("STORE_TIMEOUT", "0s", "greater than 0"),
        ("STORE_CONNECTIONS", "0", "takes a whole number from 1 to 1000"),
        ("FLUSH_INTERVAL", "0s", "greater than 0"),
        ("CACHE_BYTES", "lots", "takes a number of bytes, such as 65536, 512KiB or 32MiB"),
        ("CACHE_TTL", "0s", "greater than 0"),
        ("KEY_STRATEGY", "x", "takes random, counter or hash"),
        ("KEY_LENGTH", "3", "takes a whole number from 4 to 43"),
        ("KEY_LENGTH", "99", "takes a whole number from 4 to 43"),
        ("BLOCKED_HOSTS", "/nonexistent/list", "readable file"),
        ("BLOCK_PRIVATE_TARGETS", "maybe", "takes true or false"),
        ("HOME_URL", "sho.rt", "a valid http(s) url is required"),
        ("NOT_FOUND_URL", "ftp://sho.rt", "a valid http(s) url is required"),
        ("GONE_URL", "https://u:p@sho.rt", "user name or password"),
        ("PURGE_EXPIRED_AFTER", "0s", "greater than 0"),
        ("STATS_RETENTION", "0", "takes a whole number from 1 to 36500"),
        ("API_TOKENS", "ci:0123456789abcdef:admin", "takes name:token[:read|write]"),
        ("API_TOKENS", "ci:0123456789abcde", "must have at least 16 characters"),
        ("API_TOKENS_FILE", "/nonexistent/tokens", "the file can't be read: No such file"),
        ("PUBLIC_SHORTEN", "perhaps", "takes true or false"),
        ("UI", "maybe", "takes true or false"),
        ("RATE_LIMIT", "60", "60/min"),
        ("TOKEN_RATE_LIMIT", "60/day", "60/min"),
        ("MAX_BODY", "-5", "takes a number of bytes, such as 65536, 512KiB or 32MiB"),
        ("MAX_CONNECTIONS", "0", "takes a whole number from 1 to 1000000"),
        ("MAX_IN_FLIGHT", "0", "takes a whole number from 1 to 1000000"),
        ("REQUEST_TIMEOUT", "10", "500ms, 10s or 2min"),
        ("HEADER_TIMEOUT", "soon", "500ms, 10s or 2min"),
        ("KEEP_ALIVE", "0s", "greater than 0"),
        ("DRAIN_DELAY", "x", "500ms, 10s or 2min"),
        ("DRAIN_TIMEOUT", "x", "500ms, 10s or 2min"),
        ("CACHE_TTL", "367d", "at most 366d"),
        ("DRAIN_DELAY", "500000000000y", "at most 366d"),
        ("REQUEST_TIMEOUT", "1000y", "at most 366d"),
        ("LOG_LEVEL", "warning", "unknown level 'warning' (use error, warn, info, debug, trace or off)"),
        ("LOG_FORMAT", "xml", "takes json or text"),
        ("PGPASSWORD_FILE", "/", "takes a file"),
    ];
    for (variable, value, reason) in cases {
        let line = refusal(&output(&[], &[(variable, value)]), 2);
        assert!(line.contains(&format!("{variable} (")), "{line}");
        assert!(line.contains(reason), "{line}");
        let is_secret = matches!(variable, "STORE_URL" | "API_TOKENS");
        assert_eq!(line.contains(&format!("'{value}'")), !is_secret, "{line}");
    }
    let tested: BTreeSet<_> = cases.iter().map(|(variable, ..)| (*variable).to_owned()).collect();
    assert_eq!(tested, variables_in_help(), "every option has a bad value here");
}

/// Returns the variables that `--help` lists in the form `[env: PORT]`.
fn variables_in_help() -> BTreeSet<String> {
    let help = String::from_utf8(output(&["--help"], &[]).stdout).unwrap();
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split(']').next());
    variables.map(Into::into).collect()
}

#[test]
fn the_help_of_a_command_shows_only_the_options_that_it_uses() {
    for (command, shown, hidden) in [
        ("healthcheck", "--port", "--store-url"),
        ("token", "--expires", "--port"),
        ("export", "--store-url", "--flush-interval"),
        ("purge", "--stats-retention", "--flush-interval"),
        ("import", "--block-private-targets", "--rate-limit"),
    ] {
        let help = String::from_utf8(output(&[command, "--help"], &[]).stdout).unwrap();
        assert!(help.contains(shown) && !help.contains(hidden), "{command}: {help}");
    }
}

#[test]
fn a_hidden_option_is_accepted_before_and_after_its_command() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    for arguments in [["--log-level", "loud=yes=no", "export"], ["export", "--log-level", "loud=yes=no"]] {
        let line = refusal(&output(&arguments, &[("STORE_URL", &url)]), 2);
        assert!(line.contains("LOG_LEVEL"), "{line}");
    }
}

/// The driver ignores invalid values, so a misspelt `PGSSLMODE` value could weaken security.
#[test]
fn a_bad_postgres_variable_is_reported_in_one_line() {
    for (variable, value) in [("PGSSLMODE", "verify_full"), ("PGPORT", "postgres")] {
        let line = refusal(&output(&[], &[("STORE_URL", "postgres://"), (variable, value)]), 2);
        assert!(line.contains(variable) && line.contains(&format!("'{value}': takes")), "{line}");
        assert!(Process::start(&[(variable, value)]).terminate().success(), "other stores ignore it");
    }
}

#[test]
fn a_wrong_command_line_is_reported_in_one_line_with_a_fix() {
    let commands = "(use healthcheck, export, import, purge or token; without a command, urlshort serves)";
    for (arguments, expected) in [
        (&["--port"][..], "PORT (--port): the value is missing (write --port NUMBER)"),
        (&["--port="], "PORT (--port): '': takes a whole number from 0 to 65535"),
        (&["--log-format"], "LOG_FORMAT (--log-format): the value is missing (takes json or text)"),
        (&["--api-tokens"], "API_TOKENS (--api-tokens): the value is missing (write --api-tokens TOKENS)"),
        (&["export", "--format"], "--format: the value is missing (takes jsonl or csv)"),
        (&["serve"], &format!("unknown command 'serve' {commands}")),
        (&["fly"], &format!("unknown command 'fly' {commands}")),
        (&["--prot", "1"], "unknown option '--prot' (did you mean --port?)"),
        (&["-v"], "unknown option '-v' (see urlshort --help)"),
    ] {
        assert_eq!(refusal(&output(arguments, &[]), 2), format!("urlshort: {expected}\n"));
    }
}

#[test]
fn help_lists_the_commands_and_the_defaults() {
    let help = output(&["--help"], &[]);
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    for expected in ["A URL shortener", "healthcheck", "[default: sqlite:urlshort.db]", "[default: 60/min]"] {
        assert!(help.contains(expected), "{expected} is not in\n{help}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = output(&["--version"], &[]);
    assert!(version.status.success());
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("urlshort {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_flag_overrides_its_variable() {
    let line = refusal(&output(&["--key-strategy", "flag"], &[("KEY_STRATEGY", "variable")]), 2);
    assert!(line.contains("'flag'"), "{line}");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let process = Process::start(&[("KEY_STRATEGY", ""), ("BASE_URL", "")]);
    assert!(process.terminate().success());
}

#[test]
fn a_store_that_cannot_be_opened_is_reported_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let no_database = directory.path().join("links.db");
    std::fs::write(&no_database, "this is plain text, long enough to be mistaken for a database header")
        .unwrap();
    for (url, reason) in [
        ("sqlite:/nonexistent/links.db".to_owned(), "the directory /nonexistent does not exist"),
        (format!("sqlite:{}", directory.path().display()), "is a directory, not a file"),
        (sqlite_in(directory.path()), "file is not a database"),
    ] {
        let line = refusal(&output(&[], &[("STORE_URL", &url)]), 1);
        assert!(line.contains("STORE_URL") && line.contains(reason), "{line}");
    }
}

#[test]
fn a_port_in_use_is_reported_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(
        refusal(&output(&[], &[("PORT", &port)]), 1).contains("HOST and PORT: can't listen on 127.0.0.1:")
    );
    let address = format!("127.0.0.1:{port}");
    assert!(
        refusal(&output(&[], &[("METRICS_ADDR", &address)]), 1)
            .contains("METRICS_ADDR: can't listen on 127.0.0.1:")
    );
}

#[test]
fn healthcheck_reports_whether_the_service_is_alive() {
    let process = Process::start(&[]);
    let port = process.address.split(':').next_back().unwrap().to_owned();
    let check = |host: &str| output(&["healthcheck"], &[("HOST", host), ("PORT", &port)]);
    for host in ["127.0.0.1", "0.0.0.0"] {
        let healthy = check(host);
        assert!(healthy.status.success(), "{healthy:?}");
        assert!(healthy.stdout.is_empty() && healthy.stderr.is_empty());
    }
    assert!(process.terminate().success());
    assert_eq!(check("127.0.0.1").status.code(), Some(1));
}

#[test]
fn healthcheck_ignores_proxy_variables() {
    let process = Process::start(&[]);
    let port = process.address.split(':').next_back().unwrap();
    let nowhere = "http://127.0.0.1:1";
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, nowhere));
    let healthy = output(&["healthcheck"], &[&proxies[..], &[("PORT", port)]].concat());
    assert!(healthy.status.success(), "{healthy:?}");
}

/// When standard output is closed, nobody reads the log, but links must still be served.
#[test]
fn a_closed_standard_output_does_not_stop_the_service() {
    let port = free_port().to_string();
    let mut command = Process::command(&[("PORT", &port)]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdout(writer).spawn().unwrap();
    let healthy = (0..1000).any(|_| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_urlshort"));
        check.arg("healthcheck").env_clear().env("PORT", &port).env("HOST", "127.0.0.1");
        check.output().unwrap().status.success()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(healthy);
}
