//! Token generation, reloads of the token file, and failed authentication.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    restore::follow_runbook,
    support::{PATIENCE, Process, TestApp, assert_error, eventually, run},
};

/// The log messages about reloading the token file.
const RELOADED: &str = "tokens reloaded";
const NOT_RELOADED: &str = "tokens not reloaded; keeping the current ones";

/// The running program with a token file, and the log lines read so far.
struct Service {
    process: Process,
    client: Client,
    log: Vec<Value>,
}

impl Service {
    fn start(file: &Path, variables: &[(&str, &str)]) -> Self {
        let file = [("API_TOKENS_FILE", file.to_str().unwrap())];
        let process = Process::start(&[&file, variables].concat());
        Self { process, client: Client::new(), log: Vec::new() }
    }

    /// Lists links with `token`, as a client with the IP address `client`.
    async fn list_as(&self, client: &str, token: &str) -> reqwest::Response {
        let request = self.client.get(self.process.url("/api/v1/links")).bearer_auth(token);
        request.header("x-forwarded-for", client).send().await.unwrap()
    }

    async fn status(&self, token: &str) -> u16 {
        self.list_as("192.0.2.1", token).await.status().as_u16()
    }

    /// Reads the log up to the next line with this message.
    #[track_caller]
    fn wait_for_log(&mut self, message: &str) -> Value {
        loop {
            let line = self
                .process
                .next_log_line()
                .unwrap_or_else(|| panic!("no log line with the message {message:?}"));
            self.log.push(line.clone());
            if line["msg"] == message {
                return line;
            }
        }
    }

    /// Stops the service, and returns its log lines with this message.
    ///
    /// Asserts that no log line contains any of the secrets.
    #[track_caller]
    fn stop(mut self, message: &str, secrets: &[&str]) -> Vec<Value> {
        self.process.signal(rustix::process::Signal::TERM);
        self.log.extend(std::iter::from_fn(|| self.process.next_log_line()));
        for secret in secrets {
            assert!(self.log.iter().all(|line| !line.to_string().contains(secret)), "{:?}", self.log);
        }
        self.log.retain(|line| line["msg"] == message);
        self.log
    }
}

/// Runs `urlshort token`, and returns the token and its line for the token file.
#[track_caller]
fn generate(arguments: &[&str]) -> (String, String) {
    let output = run(Process::command(&[]).arg("token").args(arguments));
    let [token, line] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
    (token.to_owned(), line.to_owned())
}

fn append(file: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Replaces a file with a new one, as many editors do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

fn new_file(directory: &Path) -> PathBuf {
    let file = directory.join("tokens");
    fs::write(&file, "# people and programs\n").unwrap();
    file
}

#[tokio::test]
async fn a_token_is_added_expired_and_removed_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = new_file(directory.path());
    let mut service = Service::start(&file, &[("API_TOKENS", "admin:0123456789abcdef")]);
    let (ci, ci_line) = generate(&["ci"]);
    let (dash, dash_line) = generate(&["dash", "--read", "--expires", "90d"]);
    assert_eq!((service.status("0123456789abcdef").await, service.status(&ci).await), (200, 401));

    append(&file, &format!("{ci_line}\n{dash_line}"));
    service.wait_for_log(RELOADED);
    assert_eq!((service.status(&ci).await, service.status(&dash).await), (200, 200));
    let create = service.client.post(service.process.url("/api/v1/links"));
    let create = create.bearer_auth(&dash).json(&json!({ "url": "https://example.com" }));
    assert_error(create.send().await.unwrap(), 403, "forbidden").await;

    // Make the `dash` token expire now instead of in 90 days.
    let (start, _) = dash_line.rsplit_once(' ').unwrap();
    replace(&file, &format!("{ci_line}\n{start} {}\n", jiff::Timestamp::now()));
    service.wait_for_log(RELOADED);
    assert_eq!((service.status(&ci).await, service.status(&dash).await), (200, 401));

    replace(&file, "");
    service.wait_for_log(RELOADED);
    assert_eq!(service.status(&ci).await, 401);
    assert_eq!(service.status("0123456789abcdef").await, 200, "the variable still has it");
    let refused = service.stop("token refused", &[&ci, &dash, &ci[9..20], "0123456789abcdef"]);
    let expired: Vec<_> = refused.iter().filter(|line| line["reason"] == "expired").collect();
    assert_eq!(expired.len(), 1, "{refused:?}");
    assert_eq!(expired[0]["token"], "dash");
    let last = refused.last().unwrap();
    assert_eq!((&last["reason"], last.get("token")), (&json!("unknown"), None));
    assert_eq!((&last["level"], &last["client_ip"]), (&json!("WARN"), &json!("127.0.0.1")));
    assert_eq!(last["request_id"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_token_expires_to_the_millisecond() {
    let directory = tempfile::tempdir().unwrap();
    let file = new_file(directory.path());
    let (token, line) = generate(&["ci"]);
    append(&file, &format!("{line} 2026-06-01T12:00:01Z"));
    let app = TestApp::start_with(&["--api-tokens-file", file.to_str().unwrap()]).await;
    let list = async || app.client.get(app.url("/api/v1/links")).bearer_auth(&token).send().await.unwrap();
    app.advance(std::time::Duration::from_millis(999));
    assert_eq!(list().await.status(), 200);
    app.advance(std::time::Duration::from_millis(1));
    let refused = list().await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_error(refused, 401, "unauthorized").await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_current_tokens_and_is_logged_once_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let file = new_file(directory.path());
    let (token, line) = generate(&["ci"]);
    append(&file, &line);
    let mut service = Service::start(&file, &[]);
    let secret = "plain-secret-0123456789";
    for (broken, place) in [
        (format!("# a plain token\nnew:{secret}\n"), "line 2: "),
        (format!("{line}\n\n{line}\n"), "line 3: "),
        (format!("{secret}\n"), "line 1: "),
    ] {
        replace(&file, &broken);
        let report = service.wait_for_log(NOT_RELOADED);
        assert!(report["error"].as_str().unwrap().starts_with(place), "{report}");
        assert_eq!(report["level"], "ERROR");
        assert_eq!(service.status(&token).await, 200);
    }
    fs::remove_file(&file).unwrap();
    let report = service.wait_for_log(NOT_RELOADED);
    assert!(report["error"].as_str().unwrap().contains("No such file"), "{report}");
    assert_eq!(service.status(&token).await, 200);

    let (_, port) = service.process.address.rsplit_once(':').unwrap();
    let variables = [("PORT", port), ("API_TOKENS_FILE", file.to_str().unwrap())];
    let healthy = Process::command(&variables).arg("healthcheck").status().unwrap();
    assert!(
        healthy.success(),
        "otherwise an orchestrator would restart the service, which then could not start"
    );

    let (other, line) = generate(&["other"]);
    replace(&file, &line);
    service.wait_for_log(RELOADED);
    assert_eq!((service.status(&token).await, service.status(&other).await), (401, 200));
    assert_eq!(service.stop(NOT_RELOADED, &[secret, &token, &other]).len(), 4);
}

#[test]
fn a_file_broken_at_startup_is_reported_in_one_line_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let file = new_file(directory.path());
    let (token, line) = generate(&["ci"]);
    let secret = "plain-secret-0123456789";
    for (text, reason) in [
        (format!("ci:{secret}\n"), "line 1: name:token belongs in API_TOKENS"),
        (format!("{token}\n{line}\n"), "line 1: takes NAME read|write sha256:DIGEST [EXPIRY]"),
        (format!("\n{line}\nci read {line}\n"), "line 3: "),
        (line.replace("ci", "admin"), "line 1: the name 'admin' is used twice"),
        (line.replace("ci", "public"), "line 1: the names 'public' and 'import' are reserved"),
    ] {
        fs::write(&file, text).unwrap();
        let variables =
            [("API_TOKENS_FILE", file.to_str().unwrap()), ("API_TOKENS", "admin:0123456789abcdef")];
        let output = Process::command(&variables).output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), shown.lines().count()), (Some(2), 1), "{shown}");
        assert!(
            shown.contains(&format!("API_TOKENS_FILE (--api-tokens-file): '{}': {reason}", file.display())),
            "{shown}"
        );
        for secret in [secret, &token, "0123456789abcdef"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        // The `token` command must still work, because users need it to repair the file.
        run(Process::command(&variables).args(["token", "ci"]));
    }
}

#[tokio::test]
async fn failed_tokens_are_limited_for_each_client_and_valid_ones_never() {
    let directory = tempfile::tempdir().unwrap();
    let file = new_file(directory.path());
    let (token, line) = generate(&["ci"]);
    append(&file, &line);
    let service = Service::start(&file, &[("TRUSTED_PROXIES", "1")]);
    let wrong = "wrong-0123456789";
    let (first, neighbour, other) = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1");
    for _ in 0..10 {
        assert_error(service.list_as(first, wrong).await, 401, "unauthorized").await;
    }
    // On a slow machine, one more attempt may be allowed by now.
    let mut failures = 10;
    let refused = eventually(PATIENCE, async || {
        failures += 1;
        let response = service.list_as(first, wrong).await;
        if response.status() == 429 { Ok(response) } else { Err(response.status()) }
    })
    .await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    assert_error(refused, 429, "rate_limited").await;
    assert_eq!(service.list_as(first, &token).await.status(), 200, "the right token still works");
    let without = service.client.get(service.process.url("/api/v1/links")).header("x-forwarded-for", first);
    assert_error(without.send().await.unwrap(), 401, "unauthorized").await;
    assert_error(service.list_as(other, wrong).await, 401, "unauthorized").await;
    let basic = service.client.get(service.process.url("/api/v1/links")).basic_auth("ci", Some(&token));
    assert_error(basic.header("x-forwarded-for", other).send().await.unwrap(), 401, "unauthorized").await;
    let same_network = service.list_as(neighbour, wrong).await.status();
    failures += 3;
    let metrics = service.client.get(service.process.url("/metrics")).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains(&format!("\ntoken_failures_total {failures}\n")));

    let lines = service.stop("token refused", &[wrong, &token, &token[9..]]);
    let from = |client: &str| lines.iter().filter(|line| line["client_ip"] == client).collect::<Vec<_>>();
    let logged_neighbour = from(neighbour).len();
    assert_eq!(same_network == 429, logged_neighbour == 0);
    // Failures beyond the limit are not logged. There was at least one such failure.
    assert!((10..failures - 2).contains(&from(first).len()), "{lines:?}");
    assert_eq!(from(other).iter().map(|line| &line["reason"]).collect::<Vec<_>>(), ["unknown", "malformed"]);
}

#[test]
fn the_command_prints_only_a_new_token_and_its_line() {
    let output =
        Process::command(&[]).args(["token", "dash", "--read", "--expires", "90d"]).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let [token, line] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}") };
    let random = token.strip_prefix("urlshort_").unwrap();
    assert!(random.len() == 43 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
    assert!(!line.contains(random) && !stderr.contains(random), "{line} {stderr}");
    assert_eq!(stderr.lines().count(), 2, "a label for each line");
    let runbook = include_str!("../../infra/monitoring/RUNBOOK.md");
    assert!(stderr.lines().all(|label| runbook.contains(label)), "{stderr}");
    let sum = run(Command::new("sh").args(["-c", &format!("printf %s {token} | sha256sum")]));
    let [name, scope, digest, expiry] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert_eq!((name, scope), ("dash", "read"));
    assert_eq!(digest.strip_prefix("sha256:"), sum.split(' ').next());
    let days = (expiry.parse::<jiff::Timestamp>().unwrap() - jiff::Timestamp::now())
        .total(jiff::Unit::Hour)
        .unwrap()
        / 24.0;
    assert!(expiry.len() == "2027-02-28T12:00:00Z".len() && (89.0..=90.1).contains(&days), "{expiry}");

    let (other, line) = generate(&["dash"]);
    assert!(
        other != token && line.starts_with("dash write sha256:") && line.split(' ').count() == 3,
        "{line}"
    );
}

#[test]
fn the_command_refuses_an_invalid_name_or_expiry() {
    for (arguments, reason) in [
        (&["public"][..], "are reserved"),
        (&["import"], "are reserved"),
        (&["a b"], "visible ASCII"),
        (&["a:b"], "without ':'"),
        (&["#a"], "does not begin with '#'"),
        (&[], "NAME"),
        (&["ci", "--expires", "0s"], "greater than 0"),
        (&["ci", "--expires", "367d"], "at most 366d"),
        (&["ci", "--expires", "soon"], "takes a duration"),
    ] {
        let output = Process::command(&[]).arg("token").args(arguments).output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), shown.lines().count()), (Some(2), 1), "{shown}");
        assert!(shown.contains(reason) && output.stdout.is_empty(), "{shown}");
    }
}

#[tokio::test]
async fn the_commands_of_the_runbook_rotate_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = new_file(directory.path());
    let mut service = Service::start(&file, &[]);
    let program = Path::new(env!("CARGO_BIN_EXE_urlshort")).parent().unwrap().to_str().unwrap();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    let follow = |block: &str, name: &str| {
        let variables = [("PATH", &*path), ("NAME", name), ("API_TOKENS_FILE", file.to_str().unwrap())];
        follow_runbook(block, &variables).trim().to_owned()
    };
    let old = follow("add-token", "ci-1");
    service.wait_for_log(RELOADED);
    let new = follow("add-token", "ci-2");
    service.wait_for_log(RELOADED);
    assert_eq!((service.status(&old).await, service.status(&new).await), (200, 200));
    follow("expire-token", "ci-1");
    service.wait_for_log(RELOADED);
    assert_eq!(
        (service.status(&old).await, service.status(&new).await),
        (200, 200),
        "it is valid for another day"
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# people and programs\nci-1 write sha256:"), "{text}");
    follow("remove-token", "ci-1");
    service.wait_for_log(RELOADED);
    assert_eq!((service.status(&old).await, service.status(&new).await), (401, 200));
    assert!(service.stop(NOT_RELOADED, &[&old, &new]).is_empty());
}
