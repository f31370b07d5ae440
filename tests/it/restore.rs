//! Rare manual operations, performed with the runbook's commands.
//!
//! The operations are restoring a backup, taking down links, and blocking a host.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{Postgres, Process, Redis, RemoteServer, client, monitoring, run, sqlite_in};

/// Runs the commands in a named block of the runbook, and returns their output.
#[track_caller]
pub(crate) fn follow_runbook(block: &str, variables: &[(&str, impl AsRef<OsStr>)]) -> String {
    let runbook = fs::read_to_string(monitoring().join("RUNBOOK.md")).unwrap();
    let (_, commands) = runbook.split_once(&format!("```sh {block}\n")).unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .envs(variables.iter().map(|(name, value)| (name, value))))
}

async fn shorten(process: &Process, key: &str) {
    let link = json!({ "url": format!("https://{key}.example"), "key": key });
    let response = client().post(process.url("/shorten")).json(&link).send().await.unwrap();
    assert_eq!(response.status(), 201);
}

async fn status(process: &Process, key: &str) -> u16 {
    client().get(process.url(&format!("/{key}"))).send().await.unwrap().status().as_u16()
}

/// Creates three links and follows one of them twice.
///
/// The clean shutdown at the end writes the clicks to the store.
async fn use_service(store: &str) {
    let process = Process::start(&[("STORE_URL", store)]);
    for key in ["one", "two", "three"] {
        shorten(&process, key).await;
    }
    assert_eq!((status(&process, "one").await, status(&process, "one").await), (302, 302));
    assert!(process.terminate().success());
}

/// Asserts that the store has exactly the backup's links and accepts new ones.
async fn assert_restored(store: &str) {
    let process = Process::start(&[("STORE_URL", store)]);
    for key in ["one", "two", "three"] {
        assert_eq!(status(&process, key).await, 302, "{key}");
    }
    assert_eq!(status(&process, "late").await, 404);
    shorten(&process, "new").await;
    let ready: Value = client().get(process.url("/readyz")).send().await.unwrap().json().await.unwrap();
    assert_eq!(ready["status"], "ready");
    assert!(process.terminate().success());
}

#[tokio::test]
async fn sqlite_is_restored_after_its_file_was_destroyed() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite_in(directory.path());
    let (database, backup) =
        (PathBuf::from(store.strip_prefix("sqlite:").unwrap()), directory.path().join("backup"));
    let variables = [("DATABASE", database.as_path()), ("BACKUP", backup.as_path())];
    use_service(&store).await;

    let process = Process::start(&[("STORE_URL", &store)]);
    follow_runbook("backup-sqlite", &variables);
    shorten(&process, "late").await;
    // Killing the process leaves behind the write-ahead log, which contains the `late` link.
    process.kill();
    fs::write(&database, "not a database").unwrap();

    follow_runbook("restore-sqlite", &variables);
    let clicks =
        run(Command::new("sqlite3").arg(&database).arg("select clicks from counts where key = 'one'"));
    assert_eq!(clicks.trim(), "2");
    assert_restored(&store).await;
}

#[tokio::test]
async fn postgres_is_restored_after_its_tables_were_lost() {
    let server = Postgres::start();
    let (store, directory) = (server.url(), tempfile::tempdir().unwrap());
    let backup = directory.path().join("backup");
    let variables = [("STORE_URL", Path::new(&store)), ("BACKUP", backup.as_path())];
    use_service(&store).await;

    let process = Process::start(&[("STORE_URL", &store)]);
    follow_runbook("backup-postgres", &variables);
    shorten(&process, "late").await;
    assert!(process.terminate().success());
    let mut admin = PgConnection::connect(&store).await.unwrap();
    sqlx::query("DROP TABLE links CASCADE").execute(&mut admin).await.unwrap();

    follow_runbook("restore-postgres", &variables);
    let clicks: i64 = sqlx::query_scalar("SELECT clicks FROM counts WHERE key = 'one'")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(clicks, 2);
    assert_restored(&store).await;
}

#[tokio::test]
async fn redis_is_restored_after_its_files_were_lost() {
    let mut server = Redis::start_with(&["--appendonly", "yes"]);
    let (store, directory) = (server.url(), tempfile::tempdir().unwrap());
    let (backup, data) = (directory.path().join("backup"), server.directory());
    let variables =
        [("STORE_URL", Path::new(&store)), ("BACKUP", backup.as_path()), ("DATA", data.as_path())];
    use_service(&store).await;

    let process = Process::start(&[("STORE_URL", &store)]);
    follow_runbook("backup-redis", &variables);
    shorten(&process, "late").await;
    assert!(process.terminate().success());
    server.kill();
    fs::write(data.join("appendonlydir/appendonly.aof.manifest"), "not a manifest").unwrap();

    follow_runbook("restore-redis", &variables);
    server.restart_with(&["--appendonly", "no"]);
    follow_runbook("restore-redis-append-only", &variables);
    // By now, the append-only files must contain the links, so the snapshot is no longer needed.
    server.kill();
    fs::remove_file(data.join("dump.rdb")).unwrap();
    server.restart_with(&["--appendonly", "yes"]);
    let exported = Process::command(&[("STORE_URL", &store)]).arg("export").output().unwrap();
    let one = String::from_utf8(exported.stdout).unwrap();
    assert!(
        one.lines().any(|line| line.contains(r#""key":"one""#) && line.contains(r#""people":2"#)),
        "{one}"
    );
    assert_restored(&store).await;
}

#[tokio::test]
async fn a_link_is_taken_down() {
    let token = "0123456789abcdef";
    let process = Process::start(&[("API_TOKENS", &format!("operator:{token}:write"))]);
    shorten(&process, "bad").await;
    let service = process.url("");
    let variables = [("SERVICE", service.as_str()), ("TOKEN", token), ("KEY", "bad")];
    follow_runbook("take-down", &variables);
    follow_runbook("taken-down", &variables);
    assert_eq!(status(&process, "bad").await, 410);
}

#[tokio::test]
async fn a_host_is_blocked_copied_to_another_store_and_its_links_are_taken_down() {
    let token = "0123456789abcdef";
    let tokens = format!("operator:{token}:write");
    let (process, other) =
        (Process::start(&[("API_TOKENS", &tokens)]), Process::start(&[("API_TOKENS", &tokens)]));
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("hosts").to_str().unwrap().to_owned();
    let on = |process: &Process, host: &str| {
        [
            ("SERVICE", process.url("")),
            ("TOKEN", token.into()),
            ("HOST", host.into()),
            ("REASON", "a \"b\"".into()),
        ]
        .into_iter()
        .chain([("LIST", list.clone())])
        .collect::<Vec<_>>()
    };
    for key in ["one", "two"] {
        shorten(&process, key).await;
        shorten(&other, key).await;
    }
    for host in ["0.example", "1.example", ".one.example"] {
        follow_runbook("block-host", &on(&process, host));
    }
    assert_eq!((status(&process, "one").await, status(&process, "two").await), (410, 302));
    follow_runbook("save-blocked-hosts", &on(&process, ""));
    assert_eq!(fs::read_to_string(&list).unwrap(), ".one.example\n0.example\n1.example\n");
    follow_runbook("load-blocked-hosts", &on(&other, ""));
    assert_eq!((status(&other, "one").await, status(&other, "two").await), (410, 302));
    follow_runbook("unblock-host", &on(&process, ".one.example"));
    assert_eq!(status(&process, "one").await, 302);
    let output = follow_runbook("take-down-host", &on(&process, ".one.example"));
    assert_eq!(output.trim(), r#"{"done":1,"next":null}"#);
    assert_eq!((status(&process, "one").await, status(&process, "two").await), (410, 302));
}
