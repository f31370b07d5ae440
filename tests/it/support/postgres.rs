use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    PATIENCE, eventually_blocking,
    server::{RemoteServer, Server, drop_privileges, give_away, on_free_ports, run},
};

/// A PostgreSQL server that requires a password.
///
/// It runs with `fsync=off`, because the tests kill processes, not machines.
pub(crate) struct Postgres {
    directory: TempDir,
    pub(crate) port: u16,
    extra: Vec<String>,
    server: Server,
}

impl Postgres {
    pub(crate) const PASSWORD: &str = "correct horse";

    pub(crate) fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server with the additional settings returned by `prepare`.
    ///
    /// The settings can refer to files that `prepare` writes to the data directory.
    pub(crate) fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        run(Command::new("cp").arg("-r").arg(template()).arg(&data));
        let extra = prepare(&data);
        Self::start_in(directory, extra, "ready to accept connections")
    }

    /// Starts a server on existing data, and waits until it prints `ready`.
    fn start_in(directory: TempDir, extra: Vec<String>, ready: &str) -> Self {
        let data = directory.path().join("data");
        give_away(directory.path());
        run(Command::new("chmod").arg("700").arg(&data));
        let (port, server) = on_free_ports("could not bind", |[port]| {
            Ok((port, Server::start(command(&data, port, &extra), ready)?))
        });
        Self { directory, port, extra, server }
    }

    /// Starts a standby on a copy of this server's data.
    pub(crate) fn standby(&self, settings: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        give_away(directory.path());
        let mut copy = Command::new(bin("pg_basebackup"));
        drop_privileges(&mut copy);
        copy.current_dir(directory.path()).env("PGPASSWORD", Self::PASSWORD);
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string(), "-c", "fast"]);
        run(copy.args(["-X", "stream"]).arg("-D").arg(directory.path().join("data")));
        fs::write(directory.path().join("data/standby.signal"), "").unwrap();
        Self::start_in(directory, settings, "ready to accept read-only connections")
    }

    /// Promotes this standby to primary, and waits for the promotion to complete.
    pub(crate) fn promote(&self) {
        let mut promote = Command::new(bin("pg_ctl"));
        drop_privileges(&mut promote);
        run(promote.current_dir(self.data()).args(["promote", "-w", "-D"]).arg(self.data()));
    }

    /// Restarts a killed server as a standby that doesn't follow any primary.
    pub(crate) fn restart_as_standby(&mut self) {
        fs::write(self.data().join("standby.signal"), "").unwrap();
        self.restart_until("ready to accept read-only connections");
    }

    fn restart_until(&mut self, ready: &str) {
        // A stale lock file prevents a restart if the process id in the file now belongs to another process.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        self.server = eventually_blocking(PATIENCE, || {
            Server::start(command(&self.data(), self.port, &self.extra), ready).inspect_err(|printed| {
                // The only expected error is that a killed process has not released its shared memory yet.
                assert!(printed.contains("shared memory block"), "{printed}");
            })
        });
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn url(&self) -> String {
        self.url_with("postgres", Self::PASSWORD)
    }

    pub(crate) fn url_with(&self, database: &str, password: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", password.replace(' ', "%20"), self.port)
    }
}

impl RemoteServer for Postgres {
    fn freeze(&mut self) {
        self.server.signal(Signal::STOP);
    }

    fn thaw(&mut self) {
        self.server.signal(Signal::CONT);
    }

    fn kill(&mut self) {
        self.server.end(Signal::KILL);
    }

    fn restart(&mut self) {
        self.restart_until("ready to accept connections");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown releases the shared memory. Killing the server would leave it behind.
        if self.server.is_running() {
            self.server.end(Signal::QUIT);
        }
    }
}

fn command(data: &Path, port: u16, extra: &[String]) -> Command {
    let mut command = Command::new(bin("postgres"));
    command.current_dir(data).arg("-D").arg(data).args(["-p", &port.to_string()]);
    let settings =
        ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200"];
    for setting in settings.into_iter().chain(extra.iter().map(String::as_str)) {
        command.args(["-c", setting]);
    }
    command
}

/// Returns a freshly initialised data directory to copy for each server.
///
/// The directory is created only once, because `initdb` takes longer than most tests.
fn template() -> PathBuf {
    let version = run(Command::new(bin("postgres")).arg("--version"));
    let template =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-template", version.trim().replace(' ', "-")));
    if !template.exists() {
        let directory = tempfile::tempdir().unwrap();
        let (data, password) = (directory.path().join("data"), directory.path().join("password"));
        fs::write(&password, Postgres::PASSWORD).unwrap();
        give_away(directory.path());
        let mut initdb = Command::new(bin("initdb"));
        drop_privileges(&mut initdb);
        initdb.current_dir(directory.path()).arg("-D").arg(&data).arg("--pwfile").arg(&password);
        run(initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]));
        // If two tests create the template at the same time, the second rename fails, which is harmless.
        let copy = template.with_extension(std::process::id().to_string());
        run(Command::new("cp").arg("-r").arg(&data).arg(&copy));
        let _ = fs::rename(&copy, &template);
        let _ = fs::remove_dir_all(&copy);
    }
    template
}

/// Returns the path of a PostgreSQL program.
///
/// Debian has one directory per version, and this function uses the newest. On other systems, the program must be on
/// the `PATH`.
fn bin(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(program)).filter(|path| path.exists());
    found.max().unwrap_or_else(|| program.into())
}
