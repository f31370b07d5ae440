use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{eventually_blocking, reference::undocumented};

/// The deadline for everything that tests wait for, long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The real program on a free loopback port.
///
/// Dropping the `Process` kills the program.
///
/// The test fails if the program writes a log line that `infra/monitoring/REFERENCE.md` does not describe.
pub(crate) struct Process {
    child: Child,
    log: Receiver<String>,
    is_reading: Arc<AtomicBool>,
    undocumented: Arc<Mutex<Option<String>>>,
    has_documented_log: bool,
    /// Log lines written before the program was ready.
    pub(crate) startup_log: Vec<Value>,
    /// The address of the main listener, as `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// The address of the metrics listener, if any.
    pub(crate) metrics_address: Option<String>,
}

impl Process {
    /// Starts the program with only these environment variables.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        Self::spawn(&mut Self::command(variables))
    }

    /// Returns the command that starts the program.
    pub(crate) fn command(variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urlshort"));
        configure(&mut command, variables);
        command
    }

    /// Starts another version of the program, without checking its log against the reference.
    pub(crate) fn start_other(program: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        configure(&mut command, variables);
        let mut process = Self::spawn(&mut command);
        process.has_documented_log = false;
        process
    }

    /// Starts the program from a shell that first runs `prelude`.
    pub(crate) fn start_after(prelude: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{prelude}; exec \"$0\"")).arg(env!("CARGO_BIN_EXE_urlshort"));
        configure(&mut command, variables);
        Self::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (lines, log) = channel();
        let is_reading = Arc::new(AtomicBool::new(true));
        let first_undocumented = Arc::<Mutex<Option<String>>>::default();
        let mut process = Self {
            child,
            log,
            is_reading: is_reading.clone(),
            undocumented: first_undocumented.clone(),
            has_documented_log: true,
            startup_log: Vec::new(),
            address: String::new(),
            metrics_address: None,
        };
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let fault = serde_json::from_str(&line).ok().and_then(|line| undocumented(&line));
                if let Some(fault) = fault {
                    first_undocumented.lock().unwrap().get_or_insert(fault);
                }
                if lines.send(line).is_err() {
                    return;
                }
                while !is_reading.load(Ordering::Relaxed) {
                    thread::park();
                }
            }
        });
        let listening = loop {
            let line = process.next_log_line().expect("the program logs its address");
            if line["msg"] == "listening" {
                break line;
            }
            process.startup_log.push(line);
        };
        process.address = listening["address"].as_str().unwrap().to_owned();
        process.metrics_address = listening["metrics_address"].as_str().map(Into::into);
        process
    }

    /// Reads the log up to the next line with this message, and returns that line.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, message: &str) -> Value {
        loop {
            let line =
                self.next_log_line().unwrap_or_else(|| panic!("no log line with the message {message:?}"));
            if line["msg"] == message {
                return line;
            }
        }
    }

    /// Returns the next log line, or `None` at the end of the log.
    #[track_caller]
    pub(crate) fn next_log_line(&self) -> Option<Value> {
        match self.log.recv_timeout(PATIENCE) {
            Ok(line) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no log line within {PATIENCE:?}"),
        }
    }

    /// Stops reading the log, so that the pipe fills up.
    pub(crate) fn stop_reading(&self) {
        self.is_reading.store(false, Ordering::Relaxed);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills the process (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the process to exit.
    #[track_caller]
    pub(crate) fn wait(mut self) -> ExitStatus {
        eventually_blocking(PATIENCE, || self.child.try_wait().unwrap().ok_or("still running"))
    }

    /// Sends SIGTERM, and waits for the process to exit.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The test may already have ended the process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Check the rest of the log too, unless the test has stopped reading it.
        while self.is_reading.load(Ordering::Relaxed) && self.log.recv_timeout(PATIENCE).is_ok() {}
        if let Some(fault) = self.undocumented.lock().unwrap().take()
            && self.has_documented_log
            && !thread::panicking()
        {
            panic!("not in infra/monitoring/REFERENCE.md: {fault}");
        }
    }
}

fn configure(command: &mut Command, variables: &[(&str, &str)]) {
    let kept = ["PATH", "LLVM_PROFILE_FILE"].map(|name| (name, std::env::var_os(name)));
    command.env_clear();
    command.envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
    command.envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("STORE_URL", "memory:"), ("RATE_LIMIT", "0")]);
    command.envs([("DRAIN_DELAY", "0s")]);
    command.envs(variables.iter().copied());
}

/// Returns a memory field of a process's status, in bytes.
///
/// For example, the `VmHWM` field is the peak resident memory.
pub(crate) fn memory(pid: Pid, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    size.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}
