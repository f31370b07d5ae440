//! Servers that tests start on a free port in a temporary directory, and stop by process id.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::PATIENCE;

/// The user id for the servers if the tests run as root. Some servers refuse to run as root.
const NOBODY: u32 = 65534;

/// A store's server. Tests can make it fail.
pub(crate) trait RemoteServer {
    /// Pauses all of the server's processes (SIGSTOP) until [`RemoteServer::thaw`].
    fn freeze(&mut self);

    fn thaw(&mut self);

    /// Kills all of the server's processes (SIGKILL).
    fn kill(&mut self);

    /// Restarts the server with the same data and port.
    fn restart(&mut self);
}

/// A server process, which is killed when this value is dropped.
pub(crate) struct Server {
    child: Child,
    output: Receiver<String>,
}

impl Server {
    /// Starts `command`, and waits until it prints `ready`.
    ///
    /// If the command exits before that, this function returns its output as the error.
    pub(crate) fn start(mut command: Command, ready: &str) -> Result<Self, String> {
        let is_allowed = std::env::var_os("NO_SERVERS").is_none();
        assert!(is_allowed, "a test that is meant to need no servers starts {command:?}: see tests/run.sh");
        drop_privileges(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
        let (lines, output) = channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let lines = lines.clone();
            // Read to the end, so that the server never blocks on a full pipe.
            thread::spawn(move || {
                BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)))
            });
        }
        drop(lines);
        let server = Self { child, output };
        let mut printed = String::new();
        loop {
            match server.output.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(ready) => return Ok(server),
                Ok(line) => printed += &format!("{line}\n"),
                Err(RecvTimeoutError::Disconnected) => return Err(printed),
                Err(RecvTimeoutError::Timeout) => panic!("{command:?} did not become ready:\n{printed}"),
            }
        }
    }

    /// Sends `signal` to the server and its child processes.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // Stop the server first. A running server could start more children, and a dead server has no list of children.
        kill_process(pid, Signal::STOP).unwrap();
        let children = format!("/proc/{pid}/task/{pid}/children", pid = pid.as_raw_nonzero());
        for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            // The child may already have exited.
            let _ = kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), signal);
        }
        kill_process(pid, signal).unwrap();
        if signal != Signal::STOP {
            kill_process(pid, Signal::CONT).unwrap();
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends `signal`, and waits for the server to exit.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            self.end(Signal::KILL);
        }
    }
}

/// Runs `command` as an unprivileged user if the tests run as root.
pub(crate) fn drop_privileges(command: &mut Command) {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Gives `path` and everything below it to the user that runs the servers.
pub(crate) fn give_away(path: &Path) {
    if geteuid().is_root() {
        run(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(path));
    }
}

/// Runs a command that must succeed, and returns its output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The maximum number of attempts to start a server on free ports.
const PORT_ATTEMPTS: usize = 100;

/// Starts a server on free ports.
///
/// Another test may take a port first. If the server's output contains `taken`, this function tries again with other
/// ports.
#[track_caller]
pub(crate) fn on_free_ports<const N: usize, T>(
    taken: &str,
    mut start: impl FnMut([u16; N]) -> Result<T, String>,
) -> T {
    for _ in 0..PORT_ATTEMPTS {
        match start(std::array::from_fn(|_| free_port())) {
            Ok(server) => return server,
            Err(printed) => assert!(printed.contains(taken), "{printed}"),
        }
    }
    panic!("no free ports after {PORT_ATTEMPTS} attempts");
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
