//! Connections to the store's server: errors at startup, and TLS.

use std::{fs, path::Path, process::Command};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::{Postgres, Process, Redis, free_port};

/// Asserts that the program refuses to start.
///
/// It must print a single line, which contains `STORE_URL` and `reason`.
#[track_caller]
fn assert_refused(variables: &[(&str, &str)], reason: &str) {
    let output = Process::command(variables).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("STORE_URL") && line.contains(reason), "{line} does not say {reason:?}");
    assert!(!line.contains("secret"), "{line}");
}

#[track_caller]
fn assert_store_refused(url: &str, reason: &str) {
    assert_refused(&[("STORE_URL", url)], reason);
}

#[track_caller]
fn assert_serves(variables: &[(&str, &str)]) {
    assert!(Process::start(variables).terminate().success());
}

#[tokio::test]
async fn a_startup_error_of_postgres_is_one_line() {
    let server = Postgres::start();
    assert_store_refused(&server.url_with("postgres", "secret"), "password authentication failed");
    assert_store_refused(
        &server.url_with("nowhere", Postgres::PASSWORD),
        "database \"nowhere\" does not exist",
    );
    assert_store_refused(&format!("postgres://127.0.0.1:{}/x", free_port()), "Connection refused");
    assert_store_refused(&format!("{}?sslmode=require", server.url()), "server does not support TLS");
    assert_store_refused(
        &format!("{}?sslmode=perhaps", server.url()),
        "unknown value \"perhaps\" for `ssl_mode`",
    );

    assert_serves(&[("STORE_URL", &server.url())]);
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url()).await.unwrap();
    sqlx::query("INSERT INTO schema_history VALUES (2, 1)").execute(&mut admin).await.unwrap();
    assert_serves(&[("STORE_URL", &server.url())]);
    sqlx::query("INSERT INTO schema_history VALUES (3, 2)").execute(&mut admin).await.unwrap();
    assert_store_refused(&server.url(), "needs a program of schema 2 or later");
    sqlx::query("DROP TABLE schema_history").execute(&mut admin).await.unwrap();
    sqlx::query("CREATE TABLE schema_version (version BIGINT)").execute(&mut admin).await.unwrap();
    assert_store_refused(&server.url(), "`urlshort import links.jsonl` with this version");
}

#[test]
fn pg_variables_supply_what_the_postgres_url_leaves_out() {
    let server = Postgres::start();
    let port = server.port.to_string();
    let variables = |password| {
        [
            ("STORE_URL", "postgres://"),
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", port.as_str()),
            ("PGUSER", "postgres"),
            ("PGDATABASE", "postgres"),
            ("PGPASSWORD", password),
        ]
    };
    assert_serves(&variables(Postgres::PASSWORD));
    assert_refused(&variables("secret"), "password authentication failed");
}

#[test]
fn a_startup_error_of_redis_is_one_line() {
    let server = Redis::start_with(&["--requirepass", "open sesame"]);
    let url = |password: &str, rest: &str| format!("redis://:{password}@127.0.0.1:{}{rest}", server.port);
    let right = url("open%20sesame", "");
    assert_store_refused(&url("secret", ""), "uthentication failed");
    assert_store_refused(&format!("redis://127.0.0.1:{}", server.port), "Authentication required");
    assert_store_refused(&url("open%20sesame", "/99"), "index is out of range");
    assert_store_refused(&format!("redis://127.0.0.1:{}", free_port()), "Connection refused");
    assert_store_refused(&right.replace("redis:", "rediss:"), "use redis:// if the server has no TLS");
    assert_store_refused(&format!("{right}?wait=1"), "unknown parameter wait");

    assert_serves(&[("STORE_URL", &right)]);
    let admin =
        |arguments: &[&str]| server.cli(&[&["--no-auth-warning", "-a", "open sesame"], arguments].concat());
    admin(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert_store_refused(&right, "may evict links (maxmemory-policy allkeys-lru)");
    admin(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    admin(&["HSET", "urlshort:schema", "version", "2"]);
    assert_serves(&[("STORE_URL", &right)]);
    admin(&["HSET", "urlshort:schema", "readable_from", "2"]);
    assert_store_refused(&right, "needs a program of schema 2 or later");
    admin(&["DEL", "urlshort:schema"]);
    admin(&["SET", "urlshort:schema", "1"]);
    assert_store_refused(&right, "`urlshort import links.jsonl` with this version");
}

#[test]
fn a_redis_server_without_persistence_logs_a_warning() {
    let warning = "appendonly is off: a crash of the Redis server loses links";
    let warns = |server: &Redis| {
        let process = Process::start(&[("STORE_URL", &server.url())]);
        process.startup_log.iter().any(|line| line["msg"] == warning)
    };
    assert!(warns(&Redis::start()));
    assert!(!warns(&Redis::start_with(&["--appendonly", "yes"])));
}

/// PEM files: a certificate for the loopback address, and its certificate authority.
struct Certificates {
    directory: TempDir,
}

impl Certificates {
    fn generate() -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["127.0.0.1".into()]).unwrap().signed_by(&key, &authority).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("authority.pem"), authority.pem()).unwrap();
        fs::write(directory.path().join("server.pem"), certificate.pem()).unwrap();
        fs::write(directory.path().join("server.key"), key.serialize_pem()).unwrap();
        Self { directory }
    }

    fn authority(&self) -> String {
        self.directory.path().join("authority.pem").display().to_string()
    }

    /// Copies the server's certificate and key into `directory`.
    ///
    /// Only the owner can read the copy of the key.
    fn copy_to(&self, directory: &Path) {
        for file in ["server.pem", "server.key"] {
            fs::copy(self.directory.path().join(file), directory.join(file)).unwrap();
        }
        assert!(
            Command::new("chmod").arg("600").arg(directory.join("server.key")).status().unwrap().success()
        );
    }
}

#[test]
fn tls_to_postgres_is_verified() {
    let (certificates, others) = (Certificates::generate(), Certificates::generate());
    let server = Postgres::start_with(|data| {
        certificates.copy_to(data);
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        ["ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key"].map(Into::into).into()
    });
    let verified =
        |authority: String| format!("{}?sslmode=verify-full&sslrootcert={authority}", server.url());
    assert_serves(&[("STORE_URL", &verified(certificates.authority()))]);
    assert_serves(&[
        ("STORE_URL", &server.url()),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", &certificates.authority()),
    ]);
    assert_store_refused(&verified(others.authority()), "invalid peer certificate");
    assert_store_refused(&format!("{}?sslmode=disable", server.url()), "no encryption");
}

#[test]
fn tls_to_redis_is_verified() {
    let (certificates, others) = (Certificates::generate(), Certificates::generate());
    let server = Redis::start_with_files(
        |directory| certificates.copy_to(directory),
        &[
            "--port",
            "0",
            "--tls-port",
            "PORT",
            "--tls-cert-file",
            "server.pem",
            "--tls-key-file",
            "server.key",
            "--tls-auth-clients",
            "no",
        ],
    );
    let url = format!("rediss://127.0.0.1:{}", server.port);
    assert_serves(&[("STORE_URL", &format!("{url}?sslrootcert={}", certificates.authority()))]);
    assert_store_refused(&format!("{url}?sslrootcert={}", others.authority()), "invalid peer certificate");
    assert_store_refused(&url, "invalid peer certificate");
    assert_store_refused(&url.replace("rediss:", "redis:"), "use rediss:// if the server expects TLS");
}
