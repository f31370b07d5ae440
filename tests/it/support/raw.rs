//! Clients that write raw bytes to the service.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use super::{PATIENCE, eventually_blocking};

/// Connects and sets a read timeout.
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects from a loopback address other than 127.0.0.1.
pub(crate) fn connect_from(client: Ipv4Addr, address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(client.into(), 0)).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `request` and reads until the server closes or resets the connection.
pub(crate) fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = connect(address);
    // The server may respond and close the connection before it has read everything.
    let _ = stream.write_all(request);
    read_to_close(&mut stream)
}

/// Reads until the server closes or resets the connection.
#[track_caller]
pub(crate) fn read_to_close(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&response).into_owned()
}

/// Sends a GET on a new connection and returns the whole response.
pub(crate) fn get(address: &str, path: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
}

/// Sends a POST on a new connection and returns the whole response.
pub(crate) fn post(address: &str, path: &str, content_type: &str, body: &str) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, (head + body).as_bytes())
}

/// Repeats a request until `is_done` accepts the response. Panics with the last response after [`PATIENCE`].
#[track_caller]
pub(crate) fn repeat_until(mut request: impl FnMut() -> String, is_done: impl Fn(&str) -> bool) -> String {
    eventually_blocking(PATIENCE, || {
        let response = request();
        if is_done(&response) { Ok(response) } else { Err(response) }
    })
}
