//! The database password changes while clients follow links, as it does when RDS rotates the password on AWS.

use std::{fs, sync::atomic::Ordering, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::{task::JoinSet, time::sleep};

use crate::support::{Load, PATIENCE, Postgres, Process, client, eventually};

const NEW_PASSWORD: &str = r#"new "battery" staple"#;

/// The time for which lookups are blocked, so that the service opens more connections.
const BLOCKED_FOR: Duration = Duration::from_millis(500);

/// An administrator's connection to the server.
struct Admin(PgConnection);

impl Admin {
    /// Blocks lookups for a while, so that they pile up and need more connections.
    async fn block_lookups(&mut self) {
        let mut transaction = self.0.begin().await.unwrap();
        sqlx::query("LOCK TABLE links IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
        sleep(BLOCKED_FOR).await;
        transaction.commit().await.unwrap();
    }

    async fn now(&mut self) -> String {
        sqlx::query("SELECT now()::text").fetch_one(&mut self.0).await.unwrap().get(0)
    }

    /// Returns how many of the service's connections were opened after `moment`.
    ///
    /// `moment` is a timestamp from the database server's clock.
    async fn opened_since(&mut self, moment: &str) -> i64 {
        sqlx::query(
            "SELECT count(*) FROM pg_stat_activity
             WHERE usename IS NOT NULL AND state IS NOT NULL AND pid <> pg_backend_pid()
               AND backend_start > $1::timestamptz",
        )
        .bind(moment)
        .fetch_one(&mut self.0)
        .await
        .unwrap()
        .get(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_change_causes_no_failed_requests() {
    let postgres = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, format!("{}\n", Postgres::PASSWORD)).unwrap();
    // Without a cache, every request queries the database.
    let service = Process::start(&[
        ("STORE_URL", &format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port)),
        ("PGPASSWORD_FILE", file.to_str().unwrap()),
        ("CACHE_BYTES", "0"),
        // Use long timeouts for busy machines, because speed is not under test.
        ("STORE_TIMEOUT", "20s"),
        ("REQUEST_TIMEOUT", "30s"),
    ]);
    let client = client();
    let request = client.post(format!("http://{}/shorten", service.address));
    let link: Value =
        request.json(&json!({ "url": "https://example.com" })).send().await.unwrap().json().await.unwrap();
    let url = format!("http://{}/{}", service.address, link["key"].as_str().unwrap());
    let (load, mut clients) = (Load::default(), JoinSet::new());
    let mut add_clients = |count: usize| {
        for _ in 0..count {
            clients.spawn(load.clone().follow(client.clone(), url.clone()));
        }
    };
    add_clients(1);
    load.wait_for_more(50).await;

    let mut admin = Admin(PgConnection::connect(&postgres.url()).await.unwrap());
    let change = format!("ALTER ROLE postgres PASSWORD '{NEW_PASSWORD}'");
    sqlx::query(AssertSqlSafe(change)).execute(&mut admin.0).await.unwrap();
    let changed = admin.now().await;
    // The service now needs more connections, but the file still contains the old password.
    add_clients(32);
    admin.block_lookups().await;
    load.wait_for_more(200).await;
    assert_eq!(admin.opened_since(&changed).await, 0, "the old password still opens connections");

    let secret = json!({ "username": "postgres", "password": NEW_PASSWORD });
    fs::write(directory.path().join("next"), secret.to_string()).unwrap();
    fs::rename(directory.path().join("next"), &file).unwrap();
    eventually(PATIENCE, async || {
        admin.block_lookups().await;
        match admin.opened_since(&changed).await {
            0 => Err("no connection with the new password"),
            _ => Ok(()),
        }
    })
    .await;
    load.wait_for_more(500).await;
    load.stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    service.signal(Signal::KILL);
    let errors: Vec<_> =
        std::iter::from_fn(|| service.next_log_line()).filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(*load.failed.lock().unwrap(), [""; 0], "{:?}", errors.first());
}
