//! Slow clients, silent clients, and too many clients.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    PATIENCE, Process, raise_open_file_limit,
    raw::{connect, connect_from, get, post, read_to_close, repeat_until},
    sqlite_in,
};

/// Asserts that the service responds to another client.
#[track_caller]
fn assert_serves(process: &Process) {
    let response = get(&process.address, "/healthz");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[test]
fn a_head_sent_byte_by_byte_delays_nobody_and_times_out() {
    let process = Process::start(&[("HEADER_TIMEOUT", "1s")]);
    let mut slow = connect(&process.address);
    // The client waits for this timeout after each byte, so it sends about ten bytes per second.
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let start = Instant::now();
    let mut bytes = b"GET /healthz HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'x'));
    loop {
        let sent = slow.write_all(&[*bytes.next().unwrap()]);
        assert_serves(&process);
        match slow.read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => panic!("half a request got a response"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(start.elapsed() < PATIENCE),
            Err(error) => {
                assert!(sent.is_err() || error.kind() == ErrorKind::ConnectionReset, "{error}");
                break;
            }
        }
    }
}

#[test]
fn a_thousand_idle_connections_delay_nobody() {
    raise_open_file_limit();
    let process = Process::start(&[]);
    let idle: Vec<_> = (0..1000).map(|_| connect(&process.address)).collect();
    for _ in 0..10 {
        assert_serves(&process);
    }
    drop(idle);
}

#[test]
fn a_connection_over_the_limit_is_refused_immediately() {
    // Behind a proxy, all connections come from the same address, so no connection is closed to make room for another.
    let process = Process::start(&[("MAX_CONNECTIONS", "2"), ("TRUSTED_PROXIES", "1")]);
    let mut held: Vec<_> = (0..2).map(|_| connect(&process.address)).collect();
    let mut refused = connect(&process.address);
    refused.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let response = read_to_close(&mut refused);
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(
        response.contains("retry-after: 1") && response.ends_with("\"code\":\"overloaded\"}\n"),
        "{response}"
    );

    drop(held.pop());
    // The slot becomes free when the server notices that the client has disconnected.
    let metrics =
        repeat_until(|| get(&process.address, "/metrics"), |response| response.starts_with("HTTP/1.1 200"));
    assert!(!metrics.contains("connections_rejected_total 0"));
}

#[test]
fn one_client_cannot_use_up_all_connections() {
    let process = Process::start(&[("MAX_CONNECTIONS", "40"), ("HEADER_TIMEOUT", "1h")]);
    let held: Vec<_> = (0..40).map(|_| connect(&process.address)).collect();
    // A single client can hold at most a quarter of all connections. The service refuses any further ones.
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let mut neighbour = connect_from(other, &process.address);
    neighbour.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let metrics = read_to_close(&mut neighbour);
    assert!(metrics.contains("http_connections_open 11"), "{metrics}");
    assert!(metrics.contains("connections_rejected_total 30"), "{metrics}");
    drop(held);
}

#[test]
fn at_the_limit_the_longest_idle_connection_is_closed() {
    let process = Process::start(&[("MAX_CONNECTIONS", "4"), ("HEADER_TIMEOUT", "1h"), ("KEEP_ALIVE", "1h")]);
    let client = |number| connect_from(Ipv4Addr::new(127, 0, 0, number), &process.address);
    let request = |stream: &mut TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    };
    let mut held: Vec<_> = (1..=4).map(client).collect();
    held.iter_mut().for_each(request);
    // The first client sends another request, so now the second client has been idle the longest.
    request(&mut held[0]);
    let mut newcomer = client(5);
    newcomer.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    assert!(read_to_close(&mut newcomer).starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_close(&mut held[1]), "");
    for at in [0, 2] {
        held[at].write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        assert!(read_to_close(&mut held[at]).starts_with("HTTP/1.1 200"), "connection {at}");
    }
}

#[test]
fn connections_leave_the_store_enough_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let process = Process::start_after("ulimit -n 300", &[("STORE_URL", &url), ("TRUSTED_PROXIES", "1")]);
    let warning = "fewer connections than MAX_CONNECTIONS: the limit of open files is too low";
    let is_warned = |line: &Value| line["msg"] == warning && line["open_files"] == 300;
    assert!(process.startup_log.iter().any(is_warned), "{:?}", process.startup_log);
    // Open more connections than the limit allows.
    let held: Vec<_> = (0..400).map(|_| connect(&process.address)).collect();
    repeat_until(|| get(&process.address, "/healthz"), |response| response.starts_with("HTTP/1.1 503"));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.pid().as_raw_nonzero())).unwrap().count();
    assert!(descriptors < 280, "{descriptors} of 300 descriptors are open");
    drop(held);
    let shorten =
        || post(&process.address, "/shorten", "application/json", r#"{"url":"https://example.com"}"#);
    repeat_until(shorten, |response| response.starts_with("HTTP/1.1 201"));
}

#[test]
fn a_connection_is_kept_between_requests_and_closed_when_idle() {
    let process = Process::start(&[("KEEP_ALIVE", "1s"), ("HEADER_TIMEOUT", "500ms")]);
    let mut stream = connect(&process.address);
    let start = Instant::now();
    // Requests on the same connection keep getting responses for longer than `KEEP_ALIVE` and `HEADER_TIMEOUT`.
    while start.elapsed() < Duration::from_secs(3) {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut response = [0; 2048];
        let read = stream.read(&mut response).unwrap();
        assert!(
            response[..read].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&response[..read])
        );
    }
    read_to_close(&mut stream);
}
