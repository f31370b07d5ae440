use std::{fs, process::Command};

use tempfile::TempDir;

use super::{
    Postgres,
    server::{Server, give_away, on_free_ports},
};

/// A connection pooler in front of a PostgreSQL server.
pub(crate) struct PgBouncer {
    port: u16,
    _directory: TempDir,
    _server: Server,
}

impl PgBouncer {
    /// Starts `PgBouncer` in `session`, `transaction` or `statement` pool mode.
    pub(crate) fn start(server: &Postgres, pool_mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (users, config) = (directory.path().join("users.txt"), directory.path().join("pgbouncer.ini"));
        fs::write(&users, format!("\"postgres\" \"{}\"\n", Postgres::PASSWORD)).unwrap();
        let (port, server) = on_free_ports("in use", |[port]| {
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {pool_mode}\n",
                server.port,
                users.display()
            );
            fs::write(&config, settings).unwrap();
            give_away(directory.path());
            let mut command = Command::new("pgbouncer");
            command.current_dir(directory.path()).arg(&config);
            Ok((port, Server::start(command, "process up")?))
        });
        Self { port, _directory: directory, _server: server }
    }

    /// Returns a store URL that goes through the pooler.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/postgres",
            Postgres::PASSWORD.replace(' ', "%20"),
            self.port
        )
    }
}
