//! The SQLite file, and the file descriptors that it needs.

use std::{
    fs,
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
};

use rustix::process::geteuid;
use serde_json::json;

use crate::support::{PATIENCE, Process, client, eventually, sqlite_in};

#[test]
fn the_file_of_another_application_is_left_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("links.db");
    let music = rusqlite::Connection::open(&file).unwrap();
    music.execute_batch("CREATE TABLE music (title TEXT); INSERT INTO music VALUES ('So What')").unwrap();
    drop(music);
    let before = fs::read(&file).unwrap();
    let output = Process::command(&[("STORE_URL", &sqlite_in(directory.path()))]).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("the database of another application"), "{line}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_new_database_is_readable_only_by_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_after("umask 022", &[("STORE_URL", &sqlite_in(directory.path()))]);
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert!(process.terminate().success());
}

/// The user id under which the container image runs.
const IMAGE_USER: u32 = 65532;

/// Starts the program as an unprivileged user, and returns the user's id and the error.
fn start_error_without_privileges(file: &Path) -> (u32, String) {
    let url = format!("sqlite:{}", file.display());
    // No machine has this address, so the program exits even if it can open the file.
    let mut command = Process::command(&[("STORE_URL", &url), ("HOST", "192.0.2.1")]);
    // In a coverage build, this user couldn't write the profile, and that would cause a second error line.
    command.env("LLVM_PROFILE_FILE", "/dev/null");
    let uid = if geteuid().is_root() { IMAGE_USER } else { geteuid().as_raw() };
    if geteuid().is_root() {
        command.uid(IMAGE_USER).gid(IMAGE_USER);
    }
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    (uid, line)
}

#[test]
fn an_unwritable_directory_or_file_is_reported_with_the_user_and_the_fix() {
    let set_mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = data.join("links.db");
    fs::create_dir(&data).unwrap();
    set_mode(directory.path(), 0o755);
    let advice = |uid: u32| match geteuid().is_root() {
        true => format!(
            ", which belongs to uid 0; run `chown {uid}` on it (the host's directory if it is mounted from there), \
             or use a named volume\n"
        ),
        false => "; run `chmod u+".into(),
    };
    let assert_reported = |verb: &str, path: &Path| {
        let (uid, line) = start_error_without_privileges(&file);
        let kind = if path.is_dir() { "directory" } else { "file" };
        let start = "urlshort: STORE_URL: can't open the sqlite store: ";
        let expected = format!("{start}uid {uid} can't {verb} the {kind} {}{}", path.display(), advice(uid));
        assert!(line.starts_with(&expected), "{line} is not {expected}");
    };
    set_mode(&data, 0o555);
    assert_reported("write to", &data);
    set_mode(&data, 0o600);
    assert_reported("enter", &data);
    set_mode(&data, 0o777);
    assert!(Process::start(&[("STORE_URL", &format!("sqlite:{}", file.display()))]).terminate().success());
    set_mode(&file, 0o444);
    assert_reported("write to", &file);
}

#[tokio::test]
async fn without_its_file_the_store_refuses_links_and_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("STORE_URL", &*sqlite_in(directory.path())), ("METRICS_ADDR", "127.0.0.1:0")];
    let client = client();
    let create = async |process: &Process, n: usize| {
        let request = client.post(process.url("/shorten"));
        let request = request.json(&json!({ "url": format!("https://{n}.example"), "key": format!("k{n}") }));
        request.send().await.unwrap().status().as_u16()
    };
    let wait_until_unready = async |process: &Process| {
        let url = format!("http://{}/readyz", process.metrics_address.as_ref().unwrap());
        eventually(PATIENCE, async || {
            let response = client.get(&url).send().await.unwrap();
            let (status, body) = (response.status(), response.text().await.unwrap());
            if status == 503 && body.contains("the database file") { Ok(()) } else { Err(body) }
        })
        .await;
    };
    let process = Process::start(&variables);
    assert_eq!(create(&process, 1).await, 201);
    assert_eq!(client.get(process.url("/k1")).send().await.unwrap().status(), 302);
    let path = directory.path().join("links.db");
    for gone in [(|path| fs::remove_file(path).unwrap()) as fn(&std::path::Path), |path| {
        fs::write(path, "another file").unwrap()
    }] {
        gone(&path);
        assert_eq!(create(&process, 2).await, 503);
        wait_until_unready(&process).await;
        assert_eq!(client.get(process.url("/k1")).send().await.unwrap().status(), 302, "the link is cached");
    }
}

#[tokio::test]
async fn links_are_still_created_when_connections_use_up_their_descriptors() {
    const DESCRIPTORS: usize = 64;
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    // Behind a proxy, one address may take up all connections.
    let variables = [("STORE_URL", &*url), ("HEADER_TIMEOUT", "1h"), ("TRUSTED_PROXIES", "1")];
    drop(Process::start(&variables));
    let process = Process::start_after(&format!("ulimit -n {DESCRIPTORS}"), &variables);
    let client = client();
    // The client keeps this connection open and reuses it below.
    assert_eq!(client.get(process.url("/healthz")).send().await.unwrap().status(), 200);
    let _crowd: Vec<_> = (0..DESCRIPTORS).map(|_| TcpStream::connect(&process.address).unwrap()).collect();
    // The service uses half of the descriptors for connections.
    let full = format!("http_connections_open {}\n", DESCRIPTORS / 2);
    eventually(PATIENCE, async || {
        let metrics = client.get(process.url("/metrics")).send().await.unwrap().text().await.unwrap();
        if metrics.contains(&full) { Ok(()) } else { Err(metrics) }
    })
    .await;
    for n in 0..20 {
        let create = client.post(process.url("/shorten"));
        let create = create.json(&json!({ "url": "https://example.com", "key": format!("k{n}") }));
        assert_eq!(create.send().await.unwrap().status(), 201);
        assert_eq!(client.get(process.url(&format!("/k{n}"))).send().await.unwrap().status(), 302);
        assert_eq!(client.get(process.url(&format!("/none-{n}"))).send().await.unwrap().status(), 404);
    }
}
