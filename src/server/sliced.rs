//! Response bodies that are sent in slices.
//!
//! This way, the write buffer for a slow client holds only one slice instead of a copy of the whole body.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The maximum size of a slice, in bytes.
const SLICE: usize = 16 << 10;

/// A body whose data frames hold at most [`SLICE`] bytes.
pub(super) struct Sliced {
    body: Body,
    /// The rest of a frame that is larger than a slice.
    rest: Bytes,
}

impl Sliced {
    pub(super) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl HttpBody for Sliced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)?).map(Frame::into_data) {
                Some(Ok(data)) => this.rest = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        let slice = this.rest.split_to(SLICE.min(this.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::poll_fn};

    use super::*;

    #[test]
    fn a_body_is_sliced_without_changing_its_length() {
        for length in [0, 1, SLICE, SLICE + 1, 3 * SLICE] {
            let mut body = Sliced::new(vec![7_u8; length].into());
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let mut received = 0;
            while let Some(frame) =
                poll_fn(|context| Pin::new(&mut body).poll_frame(context)).now_or_never().unwrap()
            {
                let slice = frame.unwrap().into_data().unwrap();
                assert!((1..=SLICE).contains(&slice.len()), "{}", slice.len());
                received += slice.len();
                assert_eq!(body.size_hint().exact(), Some((length - received) as u64));
            }
            assert!(body.is_end_stream());
            assert_eq!(received, length);
        }
    }
}
