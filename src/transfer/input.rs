//! Reading what may be of any size without keeping more than a bounded part of it.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

/// The bytes that a reader may still hand out for one entry; whoever has read an entry fills it up again.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    left: Rc<Cell<usize>>,
    full: usize,
}

impl Budget {
    pub(super) fn new(full: usize) -> Self {
        Self { left: Rc::new(Cell::new(full)), full }
    }

    /// Begins the next entry, and tells how many bytes the last one took, as near as buffers let it be known.
    pub(super) fn renew(&self) -> usize {
        self.full.saturating_sub(self.left.replace(self.full))
    }
}

/// A reader that fails once an entry is larger than its [`Budget`].
pub(super) struct Limited<R> {
    inner: R,
    budget: Budget,
}

impl<R> Limited<R> {
    pub(super) fn new(inner: R, budget: Budget) -> Self {
        Self { inner, budget }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.budget.left.get().checked_sub(count) {
            Some(left) => self.budget.left.set(left),
            None => return Err(io::Error::other(super::Flaw::TooLong)),
        }
        Ok(count)
    }
}

/// A line of a file, in the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is there as a whole, without its end.
    Whole,
    /// It is longer than the limit; it was passed over.
    TooLong,
    /// There is none any more.
    End,
}

/// Reads the next line into `buffer`, which never holds more than `limit` bytes.
pub(super) fn read_line(input: &mut impl BufRead, buffer: &mut Vec<u8>, limit: usize) -> io::Result<Line> {
    buffer.clear();
    let (mut any, mut fits) = (false, true);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        if available.is_empty() && !any {
            return Ok(Line::End);
        }
        any = true;
        let newline = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..newline.unwrap_or(available.len())];
        fits &= buffer.len() + part.len() <= limit;
        if fits {
            buffer.extend_from_slice(part);
        }
        let is_end = newline.is_some() || available.is_empty();
        let read = part.len() + usize::from(newline.is_some());
        input.consume(read);
        if is_end {
            if buffer.last() == Some(&b'\r') {
                buffer.pop();
            }
            return Ok(if fits { Line::Whole } else { Line::TooLong });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_any_way_and_long_ones_are_passed_over() {
        // A small buffer, so that a line comes in several parts.
        let mut input = io::BufReader::with_capacity(3, &b"one\r\n\n0123456789\n12345\nlast"[..]);
        let mut buffer = Vec::new();
        let mut lines = Vec::new();
        loop {
            match read_line(&mut input, &mut buffer, 5).unwrap() {
                Line::Whole => lines.push(String::from_utf8(buffer.clone()).unwrap()),
                Line::TooLong => lines.push("too long".into()),
                Line::End => break,
            }
            assert!(buffer.capacity() <= 16);
        }
        assert_eq!(lines, ["one", "", "too long", "12345", "last"]);
    }

    #[test]
    fn an_entry_that_exceeds_the_budget_is_an_error() {
        let budget = Budget::new(8);
        let mut input = Limited::new(io::repeat(b'x'), budget.clone());
        let mut buffer = [0; 5];
        assert_eq!(input.read(&mut buffer).unwrap(), 5);
        assert_eq!(budget.renew(), 5);
        assert_eq!(input.read(&mut buffer).unwrap(), 5);
        assert!(input.read(&mut buffer).is_err());
    }
}
