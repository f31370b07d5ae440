//! Graceful shutdown.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Process, eventually_blocking, sqlite_in};

/// A keep-alive connection that sends one request at a time.
struct Connection(TcpStream);

impl Connection {
    fn connect(process: &Process) -> Self {
        let stream = TcpStream::connect(&process.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends a request and returns the response. Panics if the server closes the connection.
    #[track_caller]
    fn get(&mut self, path: &str) -> String {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut response = Vec::new();
        let mut buffer = [0; 4096];
        // In these tests, response bodies are short and arrive together with the head.
        while !response.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = self.0.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "the connection was closed on a request");
            response.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(response).unwrap()
    }
}

fn is_last(response: &str) -> bool {
    response.contains("connection: close")
}

#[test]
fn a_shutdown_under_load_drops_no_accepted_request() {
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start(&[("DRAIN_DELAY", "500ms")]);
        let answered = Arc::new(AtomicUsize::new(0));
        let connections: Vec<_> = (0..32)
            .map(|_| {
                let (mut connection, answered) = (Connection::connect(&process), answered.clone());
                thread::spawn(move || {
                    loop {
                        let response = connection.get("/nothing");
                        assert!(response.starts_with("HTTP/1.1 404"), "{response}");
                        answered.fetch_add(1, Ordering::Relaxed);
                        if is_last(&response) {
                            return;
                        }
                    }
                })
            })
            .collect();
        eventually_blocking(PATIENCE, || match answered.load(Ordering::Relaxed) {
            1000.. => Ok(()),
            fewer => Err(fewer),
        });
        process.signal(signal);
        for connection in connections {
            connection.join().unwrap();
        }
        assert!(process.wait().success());
    }
}

#[test]
fn a_draining_service_still_accepts_connections_but_is_unready() {
    let process = Process::start(&[("DRAIN_DELAY", "2s")]);
    process.signal(Signal::TERM);
    process.wait_for_log("shutting down");
    let response = Connection::connect(&process).get("/readyz");
    assert!(response.starts_with("HTTP/1.1 503") && is_last(&response), "{response}");
    assert!(Connection::connect(&process).get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(process.wait().success());
}

#[test]
fn a_half_sent_request_does_not_delay_the_shutdown_past_its_deadline() {
    let process = Process::start(&[("DRAIN_TIMEOUT", "1s"), ("HEADER_TIMEOUT", "1h")]);
    let mut half_open = TcpStream::connect(&process.address).unwrap();
    half_open.write_all(b"GET / HTTP/1.1\r\nho").unwrap();
    let mut half_sent = TcpStream::connect(&process.address).unwrap();
    let head =
        "POST /shorten HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    half_sent.write_all(head.as_bytes()).unwrap();
    // Once this later connection is served, the server must have accepted the two connections above.
    Connection::connect(&process).get("/healthz");
    let start = Instant::now();
    assert!(process.terminate().success());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn an_idle_connection_does_not_delay_the_shutdown() {
    let process = Process::start(&[("DRAIN_TIMEOUT", "1h")]);
    let mut idle = Connection::connect(&process);
    idle.get("/healthz");
    let untouched = TcpStream::connect(&process.address).unwrap();
    assert!(process.terminate().success());
    drop((idle, untouched));
}

#[test]
fn a_request_just_after_the_listener_has_closed_gets_a_response() {
    let process = Process::start(&[("DRAIN_DELAY", "0s")]);
    // Open a connection before shutdown, but send its first request after shutdown has begun.
    let mut new = Connection::connect(&process);
    Connection::connect(&process).get("/healthz");
    process.signal(Signal::TERM);
    eventually_blocking(PATIENCE, || match TcpStream::connect(&process.address) {
        Ok(_) => Err("still accepts"),
        Err(_) => Ok(()),
    });
    let response = new.get("/healthz");
    assert!(response.starts_with("HTTP/1.1 200") && is_last(&response), "{response}");
    assert!(process.wait().success());
}

#[test]
fn a_second_signal_exits_immediately() {
    let process = Process::start(&[("DRAIN_DELAY", "1h")]);
    process.signal(Signal::TERM);
    process.wait_for_log("shutting down");
    process.signal(Signal::TERM);
    let status = process.wait();
    assert_eq!(status.code(), Some(1), "{status}");
}

#[test]
fn a_signal_while_the_store_is_opened_exits_cleanly() {
    // This server accepts connections but never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for url in ["postgres://u@HOST/d", "redis://HOST"] {
        let url = url.replace("HOST", &silent.local_addr().unwrap().to_string());
        let mut child = Process::command(&[("STORE_URL", &url), ("STORE_TIMEOUT", "1h")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let accepted = silent.accept().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        // The program must handle the signal itself, because in a container, it runs as process 1, for which signals
        // have no default action.
        assert!(status.success(), "{url}: {status}");
        drop(accepted);
    }
}

#[test]
fn the_last_log_lines_are_written() {
    let process = Process::start(&[]);
    Connection::connect(&process).get("/nothing");
    process.signal(Signal::TERM);
    let mut messages = Vec::new();
    while let Some(line) = process.next_log_line() {
        messages.push(line["msg"].as_str().unwrap().to_owned());
    }
    assert_eq!(messages, ["request", "shutting down", "stopped"]);
    assert!(process.wait().success());
}

#[test]
fn a_clean_stop_leaves_the_database_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&[("STORE_URL", &sqlite_in(directory.path()))]);
    Connection::connect(&process).get("/nothing");
    assert!(process.terminate().success());
    let files: Vec<_> =
        directory.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["links.db"]);
}
