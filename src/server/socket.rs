//! A client socket that limits how much output the server buffers for the client.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::activity::Activity;

/// How long a client may keep sending on a closing connection.
const LINGER: Duration = Duration::from_secs(1);

/// The maximum number of input bytes to discard while a connection closes.
const LINGER_BYTES: usize = 1 << 20;

/// A TCP stream that stops reading while a write is blocked.
///
/// hyper keeps reading pipelined requests while their responses pile up in its write buffer. This stream bounds that
/// buffer: it reads no further requests until the blocked write continues. A write that stays blocked for
/// `stall_timeout` fails, which ends the connection.
pub(super) struct Socket<'a> {
    stream: TcpStream,
    activity: &'a Activity,
    stall_timeout: Duration,
    /// The stall timer. It runs while a write is blocked.
    stalled: Option<Pin<Box<Sleep>>>,
    read_is_waiting: bool,
    is_shut_down: bool,
    linger: Option<Linger>,
}

/// The remaining allowance for a client that keeps sending on a closing connection.
struct Linger {
    deadline: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<'a> Socket<'a> {
    pub(super) fn new(stream: TcpStream, activity: &'a Activity, stall_timeout: Duration) -> Self {
        Self {
            stream,
            activity,
            stall_timeout,
            stalled: None,
            read_is_waiting: false,
            is_shut_down: false,
            linger: None,
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    /// Discards input until the client closes the connection or exceeds its allowance.
    pub(super) async fn linger(mut self) {
        poll_fn(|context| self.poll_discard(context, true)).await;
    }

    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let timeout = self.stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }

    /// Discards input. See [`Self::linger`].
    ///
    /// A client that is not sending gets no allowance, because closing its connection immediately loses nothing.
    fn poll_discard(&mut self, context: &mut Context<'_>, may_be_sending: bool) -> Poll<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut input = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut input);
            let length = input.filled().len();
            match read {
                Poll::Ready(_) if length == 0 => return Poll::Ready(()),
                Poll::Pending if self.linger.is_none() && !may_be_sending => return Poll::Ready(()),
                _ => {}
            }
            let linger = self
                .linger
                .get_or_insert_with(|| Linger { deadline: Box::pin(sleep(LINGER)), bytes: LINGER_BYTES });
            linger.bytes = linger.bytes.saturating_sub(length);
            if linger.bytes == 0 {
                return Poll::Ready(());
            }
            if read.is_pending() {
                return linger.deadline.as_mut().poll(context);
            }
        }
    }
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stalled.is_some() {
            this.read_is_waiting = true;
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Pending => this.poll_stalled(context),
            written => {
                this.stalled = None;
                if std::mem::take(&mut this.read_is_waiting) {
                    context.waker().wake_by_ref();
                }
                written
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    /// Shuts down the write side, then discards further input.
    ///
    /// Closing a socket with unread input would reset the connection, and the client could lose the response (RFC 9112,
    /// section 9.6).
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut_down {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.is_shut_down = true;
        }
        let may_be_sending = this.activity.may_be_sending();
        this.poll_discard(context, may_be_sending).map(Ok)
    }
}
