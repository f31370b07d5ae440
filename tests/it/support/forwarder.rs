use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// A TCP proxy in front of a server, standing in for a load balancer or a DNS name.
///
/// It can move to another server, go silent, or drop its connections. It needs a multi-threaded runtime.
pub(crate) struct Forwarder {
    pub(crate) port: u16,
    state: Arc<watch::Sender<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
struct State {
    target: SocketAddr,
    /// The current epoch. Connections from an earlier epoch are closed.
    epoch: u64,
    /// Connections numbered up to this value stay open but forward no data.
    silenced: u64,
    /// The number of connections accepted so far.
    accepted: u64,
    /// If set, responses are held back, but requests still reach the server.
    holds_responses: bool,
}

impl Forwarder {
    /// Starts forwarding to a port on the loopback address.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state =
            State { target: address(port), epoch: 0, silenced: 0, accepted: 0, holds_responses: false };
        let state = Arc::new(watch::Sender::new(state));
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Self { port: own, state, accepting }
    }

    /// Replaces a server's port in `url` with the forwarder's port.
    pub(crate) fn replace_in(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}"), &format!(":{}", self.port))
    }

    /// Routes new connections to another port. Open connections stay where they are.
    pub(crate) fn move_to(&self, port: u16) {
        self.state.send_modify(|state| state.target = address(port));
    }

    /// Stops forwarding on open connections without closing them. New connections work.
    pub(crate) fn silence(&self) {
        self.state.send_modify(|state| state.silenced = state.accepted);
    }

    /// Holds back the server's responses, or lets them through again.
    pub(crate) fn hold_responses(&self, hold: bool) {
        self.state.send_modify(|state| state.holds_responses = hold);
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        state.send_modify(|state| state.accepted += 1);
        let connection = Connection { number: state.borrow().accepted, state: state.subscribe() };
        tokio::spawn(connection.run(client));
    }
}

#[derive(Clone)]
struct Connection {
    number: u64,
    state: watch::Receiver<State>,
}

impl Connection {
    async fn run(mut self, client: TcpStream) {
        let State { target, epoch, .. } = self.state.borrow().clone();
        let Ok(server) = TcpStream::connect(target).await else { return };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let requests = self.clone().copy(from_client, to_server, false);
        let responses = self.clone().copy(from_server, to_client, true);
        tokio::select! {
            // If one end closes, dropping both streams also closes the other end.
            _ = requests => {}
            _ = responses => {}
            _ = self.state.wait_for(|state| state.epoch != epoch) => {}
        }
    }

    async fn copy(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_response: bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let number = self.number;
            let passes = |state: &State| number > state.silenced && !(is_response && state.holds_responses);
            let read = from.read(&mut buffer).await?;
            if self.state.wait_for(passes).await.is_err() || read == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..read]).await?;
        }
    }
}
