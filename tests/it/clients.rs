//! Clients that are slow, silent or too many.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{PATIENCE, Process, raise_open_file_limit};

/// Whether the service answers somebody else right now.
#[track_caller]
fn assert_serves(process: &Process) {
    let mut stream = TcpStream::connect(&process.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Waits for the server to close the connection.
fn wait_for_close(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn a_header_that_comes_byte_by_byte_holds_up_nobody_and_is_given_up() {
    let process = Process::start(&[("HEADER_TIMEOUT", "1s")]);
    let mut slow = TcpStream::connect(&process.address).unwrap();
    // One byte comes each time that the wait for an answer has run out: the pace is part of what is tested.
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let start = Instant::now();
    let mut bytes = b"GET /healthz HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'x'));
    loop {
        let sent = slow.write_all(&[*bytes.next().unwrap()]);
        assert_serves(&process);
        match slow.read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => panic!("half a request was answered"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(start.elapsed() < PATIENCE),
            Err(error) => {
                assert!(sent.is_err() || error.kind() == ErrorKind::ConnectionReset, "{error}");
                break;
            }
        }
    }
}

#[test]
fn a_thousand_idle_connections_hold_up_nobody() {
    raise_open_file_limit();
    let process = Process::start(&[]);
    let idle: Vec<_> = (0..1000).map(|_| TcpStream::connect(&process.address).unwrap()).collect();
    for _ in 0..10 {
        assert_serves(&process);
    }
    drop(idle);
}

#[test]
fn a_connection_over_the_bound_is_told_so_at_once() {
    let process = Process::start(&[("MAX_CONNECTIONS", "2")]);
    let mut held: Vec<_> = (0..2).map(|_| TcpStream::connect(&process.address).unwrap()).collect();
    let mut refused = TcpStream::connect(&process.address).unwrap();
    refused.set_read_timeout(Some(PATIENCE)).unwrap();
    refused.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1") && answer.ends_with("\"code\":\"overloaded\"}\n"), "{answer}");

    drop(held.pop());
    // Its place is free once the server has seen it leave.
    let start = Instant::now();
    loop {
        let mut stream = TcpStream::connect(&process.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            assert!(!answer.contains("connections_rejected_total 0"));
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{answer}");
    }
}

#[test]
fn a_connection_is_kept_between_requests_and_closed_when_none_comes() {
    let process = Process::start(&[("KEEP_ALIVE", "1s"), ("HEADER_TIMEOUT", "500ms")]);
    let mut stream = TcpStream::connect(&process.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = Instant::now();
    // For longer than either deadline requests come on one connection, and all are answered.
    while start.elapsed() < Duration::from_secs(3) {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 2048];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
    wait_for_close(&mut stream);
}

#[test]
fn what_is_no_http_is_refused_and_forgotten() {
    let process = Process::start(&[]);
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", &[b'x'; 100_000], b"GET / HTTP/9.9\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(&process.address).unwrap();
        // The server may have closed already.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        wait_for_close(&mut stream);
    }
    assert_serves(&process);
}
