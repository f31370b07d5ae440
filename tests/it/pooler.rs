//! Connection poolers between the service and PostgreSQL.

use serde_json::{Value, json};

use crate::support::{PgBouncer, Postgres, Process, client};

const TOKEN: &str = "writer-0123456789";

#[test]
fn a_pooler_in_transaction_mode_is_refused_at_startup() {
    let server = Postgres::start();
    let pooler = PgBouncer::start(&server, "transaction");
    let output = Process::command(&[("STORE_URL", &pooler.url())]).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("STORE_URL") && line.contains("set its pool mode to session"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_pooler_in_session_mode() {
    let server = Postgres::start();
    let pooler = PgBouncer::start(&server, "session");
    let variables =
        [("STORE_URL", &*pooler.url()), ("API_TOKENS", &format!("ci:{TOKEN}")), ("CACHE_TTL", "1h")];
    let (one, other) = (Process::start(&variables), Process::start(&variables));
    let client = client();
    for n in 0..20 {
        let created =
            client.post(one.url("/shorten")).json(&json!({ "url": format!("https://{n}.example/") }));
        let created: Value = created.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        let path = format!("/{}", created["key"].as_str().unwrap());
        assert_eq!(client.get(other.url(&path)).send().await.unwrap().status(), 302);
        let take_down = client.post(one.url(&format!("/api/v1/links{path}/take-down"))).bearer_auth(TOKEN);
        take_down.send().await.unwrap().error_for_status().unwrap();
        crate::support::eventually(crate::support::PATIENCE, async || {
            match client.get(other.url(&path)).send().await.unwrap().status().as_u16() {
                410 => Ok(()),
                status => Err(status),
            }
        })
        .await;
    }
}
