//! What a redirect costs on a socket, side by side with nginx: CPU time per request, as the system accounts it.
//!
//! `cargo bench --bench cost` needs nginx and wrk (Debian packages of these names) and two cores: the server has one to
//! itself, the load generator the other. Contenders take turns, five rounds of each, and medians are shown. The service
//! has everything on: its store, a JSON access log to a file, metrics, click counting, request ids, limits, timeouts.
//! `target/cost.json` has the same figures. `SECONDS=1 ROUNDS=1` makes it a short run.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
const CONNECTIONS: &str = "64";
const TARGET: &str = "https://example.com/some/path";

/// Keys that are asked for in the run with many of them.
const HOT_KEYS: usize = 100_000;

/// Clock ticks per second in `/proc/PID/stat` (`USER_HZ`, the same on every Linux that matters).
const TICKS: f64 = 100.0;

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn main() {
    if let Some(port) = env::var_os("BARE_HYPER") {
        return bare_hyper(&port);
    }
    let number = |name: &str, default| env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, seconds) = (number("ROUNDS", 5), number("SECONDS", 3));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let contenders = contenders(directory.path());
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            samples.push(measure(contender, directory.path(), seconds));
        }
    }
    let medians: Vec<_> = samples.into_iter().map(median).collect();
    let reference = medians[1].cpu;
    println!(
        "{:<34} {:>8} {:>7} {:>10} {:>8} {:>8} {:>8} {:>8}",
        "", "µs CPU", "ratio", "requests/s", "p50 µs", "p99 µs", "idle MB", "MB"
    );
    let mut report = Vec::new();
    for (contender, sample) in contenders.iter().zip(&medians) {
        let Sample { cpu, rate, p50, p99, idle, loaded } = sample;
        let (name, ratio) = (contender.name, cpu / reference);
        println!(
            "{name:<34} {cpu:>8.2} {ratio:>7.2} {rate:>10.0} {p50:>8.0} {p99:>8.0} {idle:>8.1} {loaded:>8.1}"
        );
        report.push(json!({
            "name": name, "cpu_us": cpu, "ratio": ratio, "requests_per_s": rate, "p50_us": p50, "p99_us": p99,
            "idle_mb": idle, "loaded_mb": loaded,
        }));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../cost.json");
    fs::write(file, Value::from(report).to_string()).expect("a report");
}

/// A server, and what it is asked for.
struct Contender {
    name: &'static str,
    start: fn(&Path, u16) -> Command,
    load: Load,
}

#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// One link again and again.
    OneLink,
    /// A link of many, each as likely.
    ManyLinks,
    /// What is not there.
    Misses,
}

fn contenders(directory: &Path) -> Vec<Contender> {
    fs::write(directory.join("many.lua"), lua("'/many' .. math.random(0, {n} - 1)")).expect("a script");
    fs::write(directory.join("misses.lua"), lua("'/none' .. math.random(0, {n} - 1)")).expect("a script");
    let contender = |name, start, load| Contender { name, start, load };
    vec![
        contender("nginx, no log", |directory, port| nginx(directory, port, "off"), Load::OneLink),
        contender(
            "nginx, JSON log",
            |directory, port| nginx(directory, port, "log json buffer=64k flush=1s"),
            Load::OneLink,
        ),
        contender("bare hyper", |_, port| bare_hyper_command(port), Load::OneLink),
        contender("urlshort, memory", |directory, port| urlshort(directory, port, "memory:"), Load::OneLink),
        contender("urlshort, sqlite", sqlite, Load::OneLink),
        contender("urlshort, sqlite, 100,000 keys", sqlite, Load::ManyLinks),
        contender("urlshort, sqlite, unknown keys", sqlite, Load::Misses),
    ]
}

fn lua(path: &str) -> String {
    let path = path.replace("{n}", &HOT_KEYS.to_string());
    format!("request = function() return wrk.format('GET', {path}) end\n")
}

fn nginx(directory: &Path, port: u16, log: &str) -> Command {
    let log = log.replace("log ", &format!("{}/nginx.log ", directory.display()));
    let pid = directory.join("nginx.pid");
    let config = directory.join("nginx.conf");
    let fields = "{\"ts\":\"$time_iso8601\",\"method\":\"$request_method\",\"path\":\"$uri\",\"status\":$status,\
                  \"duration\":$request_time,\"request_id\":\"$request_id\",\"client_ip\":\"$remote_addr\",\
                  \"user_agent\":\"$http_user_agent\"}";
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {pid}; error_log stderr error;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ log_format json escape=json '{fields}'; access_log {log}; keepalive_requests 100000000;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 302 {TARGET}; }} }} }}\n",
        pid = pid.display(),
        dir = directory.display()
    );
    fs::write(&config, text).expect("a configuration");
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE, "nginx", "-p"]).arg(directory).arg("-c").arg(&config);
    command
}

fn urlshort(directory: &Path, port: u16, store: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE, env!("CARGO_BIN_EXE_urlshort")]).env_clear();
    command.envs([
        ("HOST", "127.0.0.1"),
        ("PORT", &port.to_string()),
        ("STORE_URL", store),
        ("RATE_LIMIT", "0"),
    ]);
    command.stdout(fs::File::create(directory.join("access.log")).expect("a log file"));
    command
}

fn sqlite(directory: &Path, port: u16) -> Command {
    urlshort(directory, port, &format!("sqlite:{}", directory.join("links.db").display()))
}

/// Hyper and nothing else, in a process of its own: what the protocol itself costs.
fn bare_hyper_command(port: u16) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(env::current_exe().expect("this program"));
    command.env("BARE_HYPER", port.to_string());
    command
}

fn bare_hyper(port: &OsString) {
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
                // A connection that the load generator cuts is no error here.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

/// What one round has shown. Times in microseconds, memory in megabytes.
#[derive(Clone)]
struct Sample {
    cpu: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    idle: f64,
    loaded: f64,
}

fn median(samples: Vec<Sample>) -> Sample {
    let of = |pick: fn(&Sample) -> f64| {
        let mut values: Vec<_> = samples.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Sample {
        cpu: of(|sample| sample.cpu),
        rate: of(|sample| sample.rate),
        p50: of(|sample| sample.p50),
        p99: of(|sample| sample.p99),
        idle: of(|sample| sample.idle),
        loaded: of(|sample| sample.loaded),
    }
}

/// A server that ends with its round.
struct Server {
    process: Child,
    base: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx and the service end cleanly on the same signal.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

fn measure(contender: &Contender, directory: &Path, seconds: u32) -> Sample {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let process = (contender.start)(directory, port).spawn().expect("nginx and taskset are installed");
    let server = Server { process, base: format!("http://127.0.0.1:{port}") };
    let path = prepare(&server.base, contender);
    let pid = server.process.id();
    let idle = resident(pid);
    load(&server.base, &path, contender, directory, 1);
    let before = cpu(pid);
    let (requests, rate, p50, p99) = load(&server.base, &path, contender, directory, seconds);
    let cpu = (cpu(pid) - before) / requests * 1e6;
    Sample { cpu, rate, p50, p99, idle, loaded: resident(pid) }
}

/// Waits for the server and makes what it will be asked for. Returns the path that is asked for.
fn prepare(base: &str, contender: &Contender) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let start = Instant::now();
        while client.get(format!("{base}/healthz")).send().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{} does not start", contender.name);
        }
        if !contender.name.starts_with("urlshort") {
            return "/q0V8fYz".to_owned();
        }
        let make = |key: String| {
            client.post(format!("{base}/shorten")).json(&json!({ "url": TARGET, "key": key })).send()
        };
        // The store keeps them from one round to the next.
        make("q0V8fYz".to_owned()).await.expect("a link");
        if contender.load == Load::ManyLinks
            && make("many0".to_owned()).await.expect("a link").status() == 201
        {
            for first in (1..HOT_KEYS).step_by(64) {
                let some = (first..HOT_KEYS.min(first + 64)).map(|number| make(format!("many{number}")));
                for made in futures_util::future::join_all(some).await {
                    assert_eq!(made.expect("a link").status(), 201);
                }
            }
        }
        "/q0V8fYz".to_owned()
    })
}

/// Requests, requests per second, and the 50th and 99th percentile of their time.
fn load(
    base: &str,
    path: &str,
    contender: &Contender,
    directory: &Path,
    seconds: u32,
) -> (f64, f64, f64, f64) {
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", CLIENT_CORE, "wrk", "-t1", "-c", CONNECTIONS, "--latency", "-d", &seconds.to_string()]);
    match contender.load {
        Load::OneLink => &mut wrk,
        Load::ManyLinks => wrk.arg("-s").arg(directory.join("many.lua")),
        Load::Misses => wrk.arg("-s").arg(directory.join("misses.lua")),
    };
    wrk.args(["-H", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"]);
    let mut wrk = wrk.arg(format!("{base}{path}")).stdout(Stdio::piped()).spawn().expect("wrk is installed");
    let (mut requests, mut rate, mut p50, mut p99) = (0.0, 0.0, 0.0, 0.0);
    for line in BufReader::new(wrk.stdout.take().expect("a pipe")).lines().map_while(Result::ok) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["50%", time] => p50 = micros(time),
            ["99%", time] => p99 = micros(time),
            [count, "requests", "in", ..] => requests = count.parse().expect("a number"),
            ["Requests/sec:", number] => rate = number.parse().expect("a number"),
            ["Socket", "errors:", ..] => panic_with(&line),
            _ => {}
        }
    }
    assert!(wrk.wait().is_ok_and(|status| status.success()) && requests > 0.0);
    (requests, rate, p50, p99)
}

fn panic_with(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
    std::process::exit(1);
}

/// A time as wrk writes it, such as `1.23ms`.
fn micros(text: &str) -> f64 {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        _ => 1e6,
    };
    digits.parse::<f64>().expect("a number") * factor
}

/// Seconds of user and system time that a process has used (proc(5), fields 14 and 15 of `stat`).
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields = stat.rsplit(')').next().expect("a name in brackets").split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}

/// Resident memory of a process.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<f64>().ok()).expect("a number")
        / 1000.0
}
