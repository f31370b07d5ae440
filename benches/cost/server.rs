//! Server processes, and their use of CPU time and memory.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::contenders::TARGET;

/// Clock ticks per second in `/proc/PID/stat` (`USER_HZ`, which is 100 on all common Linux platforms).
const TICKS: f64 = 100.0;

/// A server process that is stopped on drop.
pub(crate) struct Server {
    process: Child,
    /// The time from the start to the first response.
    pub(crate) ready: Duration,
    /// The base URL of the server.
    pub(crate) base: String,
}

impl Server {
    /// Starts a server on a free port, and waits for its first response.
    pub(crate) fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let mut command = command(port);
        let start = Instant::now();
        let process = command.spawn().expect("nginx and taskset are installed");
        while !responds(port).unwrap_or(false) {
            assert!(start.elapsed() < Duration::from_secs(20), "the server does not start");
            // Yield to the server, because it may run on the same core.
            thread::sleep(Duration::from_millis(1));
        }
        Self { process, ready: start.elapsed(), base: format!("http://127.0.0.1:{port}") }
    }

    /// Returns the CPU time used so far, in seconds.
    ///
    /// It is the sum of the user and system time, which are fields 14 and 15 of `/proc/PID/stat` (see proc(5)).
    pub(crate) fn cpu(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("the process lives");
        let fields = stat.rsplit(')').next().expect("a name in brackets").split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
    }

    /// Returns the resident memory, in megabytes.
    pub(crate) fn resident(&self) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kibibytes = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
        kibibytes.expect("a number") * 1024.0 / 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM shuts down both nginx and the service cleanly.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

fn responds(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    Ok(stream.read(&mut [0])? > 0)
}

fn on_cores(cores: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]);
    command
}

/// Returns the command for nginx, with one worker that redirects every request.
pub(crate) fn nginx(cores: &str, directory: &Path, port: u16, logs: bool) -> Command {
    let log = if logs {
        format!("{}/nginx.log json buffer=64k flush=1s", directory.display())
    } else {
        "off".to_owned()
    };
    let config = directory.join("nginx.conf");
    let fields = "{\"ts\":\"$time_iso8601\",\"method\":\"$request_method\",\"path\":\"$uri\",\"status\":$status,\
                  \"duration\":$request_time,\"request_id\":\"$request_id\",\"client_ip\":\"$remote_addr\",\
                  \"user_agent\":\"$http_user_agent\"}";
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log stderr error;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ log_format json escape=json '{fields}'; access_log {log}; keepalive_requests 100000000;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 302 {TARGET}; }} }} }}\n",
        dir = directory.display()
    );
    fs::write(&config, text).expect("a configuration");
    let mut command = on_cores(cores);
    command.args(["nginx", "-p"]).arg(directory).arg("-c").arg(&config);
    command
}

/// Returns the command for this service, with every feature on except the rate limit.
pub(crate) fn urlshort(cores: &str, log: Stdio, port: u16, store: &str) -> Command {
    let mut command = on_cores(cores);
    command.arg(env!("CARGO_BIN_EXE_urlshort")).env_clear();
    command.envs([
        ("HOST", "127.0.0.1"),
        ("PORT", &port.to_string()),
        ("STORE_URL", store),
        ("RATE_LIMIT", "0"),
    ]);
    command.stdout(log);
    command
}

/// Returns the command that runs this benchmark itself as a server.
pub(crate) fn bare_hyper_command(cores: &str, port: u16) -> Command {
    let mut command = on_cores(cores);
    command.arg(env::current_exe().expect("this program"));
    command.env("BARE_HYPER", port.to_string());
    command
}

/// Runs hyper on one thread, with the same response as nginx.
pub(crate) fn bare_hyper(port: &OsString) {
    use hyper::{Response, body::Bytes, service::service_fn};
    let address = format!("127.0.0.1:{}", port.to_string_lossy());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            tokio::spawn(async move {
                let service = service_fn(async |_| {
                    let answer = Response::builder().status(302).header("location", TARGET);
                    answer.body(axum::body::Body::from(Bytes::new()))
                });
                // Ignore errors, because the load generator may close a connection at any time.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}
