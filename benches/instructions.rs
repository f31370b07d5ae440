//! Counts the user-space instructions per redirect, which don't depend on the machine's load.
//!
//! `cargo bench --bench instructions` needs valgrind. The counts from callgrind are repeatable, unlike times. The
//! service runs twice with each store, with different numbers of redirects. Subtracting the two counts removes the cost
//! of startup and shutdown. `URLSHORT=path/to/another/build` measures another build, for example the build from before
//! a change.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// The number of connections, each with one request in flight.
///
/// As under load, the service handles several requests per wake-up.
const CONNECTIONS: usize = 32;

/// The number of requests per connection, first for the shorter run, then for the longer one.
const REQUESTS: [usize; 2] = [50, 350];

const KEY: &str = "q0V8fYz";

/// A request from a typical browser, with only the headers that the service reads.
const REQUEST: &str = "GET /q0V8fYz HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nReferer: https://news.example.com/\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\r\n";

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn main() {
    let program = env::var_os("URLSHORT").unwrap_or_else(|| env!("CARGO_BIN_EXE_urlshort").into());
    let directory = tempfile::tempdir().expect("a temporary directory");
    println!("{:<10} {:>28}", "store", "instructions per redirect");
    for store in ["memory:".to_owned(), format!("sqlite:{}", directory.path().join("links.db").display())] {
        let [short, long] = REQUESTS.map(|requests| count(&program, &store, directory.path(), requests));
        let requests = (REQUESTS[1] - REQUESTS[0]) * CONNECTIONS;
        let (name, _) = store.split_once(':').expect("a URL");
        println!("{name:<10} {:>28.0}", (long - short) / requests as f64);
    }
}

/// Returns the number of instructions in a run with `requests` redirects per connection.
fn count(program: &OsString, store: &str, directory: &Path, requests: usize) -> f64 {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.envs([("HOST", "127.0.0.1"), ("PORT", &port.to_string()), ("STORE_URL", store)]);
    command.stdout(fs::File::create(directory.join("access.log")).expect("a log file"));
    let mut server = command.stderr(Stdio::piped()).spawn().expect("valgrind is installed");
    create_link(&mut server, port);
    let connect = |_| TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let mut connections: Vec<_> = (0..CONNECTIONS).map(connect).collect();
    for _ in 0..requests {
        for connection in &mut connections {
            connection.write_all(REQUEST.as_bytes()).expect("a request");
        }
        for connection in &mut connections {
            let response = read_response(connection);
            assert!(response.starts_with("HTTP/1.1 302"), "{response}");
        }
    }
    drop(connections);
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the server runs");
    let report = BufReader::new(server.stderr.take().expect("a pipe"));
    let collected = report.lines().map_while(Result::ok).find_map(|line| {
        let (_, number) = line.split_once("Collected : ")?;
        number.trim().parse().ok()
    });
    assert!(server.wait().is_ok_and(|status| status.success()));
    collected.expect("a count by callgrind")
}

/// Waits for the server and creates the link to follow.
fn create_link(server: &mut Child, port: u16) {
    let body = format!("key={KEY}&url=https://example.com/some/path");
    let mut connection = loop {
        assert!(server.try_wait().expect("a process").is_none(), "the server does not start");
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(connection) => break connection,
            Err(_) => thread::yield_now(),
        }
    };
    let length = body.len();
    let head = format!(
        "POST /shorten HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    connection.write_all((head + &body).as_bytes()).expect("a request");
    // The store may already have the link from a previous run.
    let response = read_response(&mut connection);
    assert!(["201", "409"].contains(&&response[9..12]), "{response}");
}

/// Reads a response, which is short enough for a single read.
fn read_response(connection: &mut TcpStream) -> String {
    let mut response = [0; 4096];
    let length = connection.read(&mut response).expect("a response");
    String::from_utf8_lossy(&response[..length]).into_owned()
}
