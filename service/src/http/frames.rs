//! The frames of HTTP/2 (RFC 9113, section 4) that a client sends and that cost us work and ask for nothing: pings, settings,
//! priorities, data without any. So many of them in a short time are an attack (RFC 9113, section 10.5).

use std::{io, time::Duration};

use tokio::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// The most of them in [`WINDOW`].
const MOST: u32 = 200;
const WINDOW: Duration = Duration::from_secs(10);

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// What was read of a connection so far.
pub struct Frames {
    at: At,
    since: Instant,
    count: u32,
}

enum At {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// Not HTTP/2.
    Other,
    Head([u8; HEAD], usize),
    /// So many bytes of a frame are still to come.
    Payload(usize),
}

impl Frames {
    /// Of a new connection.
    pub fn new() -> Self {
        Self { at: At::Preface(0), since: Instant::now(), count: 0 }
    }

    /// Looks at what the client has sent next; an error if it is too much of what asks for nothing.
    pub fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Other => return Ok(()),
                At::Preface(matched) => {
                    let (byte, rest) = (bytes[0], &bytes[1..]);
                    if PREFACE[*matched] != byte {
                        self.at = At::Other;
                        return Ok(());
                    }
                    *matched += 1;
                    if *matched == PREFACE.len() {
                        self.at = At::Head([0; HEAD], 0);
                    }
                    bytes = rest;
                }
                At::Head(head, filled) => {
                    let taken = bytes.len().min(HEAD - *filled);
                    head[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
                    *filled += taken;
                    bytes = &bytes[taken..];
                    if *filled == HEAD {
                        let head = *head;
                        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                        self.at = if length == 0 { At::Head([0; HEAD], 0) } else { At::Payload(length) };
                        self.count(head[3], head[4], length)?;
                    }
                }
                At::Payload(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.at = At::Head([0; HEAD], 0);
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, kind: u8, flags: u8, length: usize) -> io::Result<()> {
        let end_of_stream = flags & 1 == 1;
        let idle = matches!(kind, PING | SETTINGS | PRIORITY) || kind == DATA && length == 0 && !end_of_stream;
        if !idle {
            return Ok(());
        }
        if self.since.elapsed() > WINDOW {
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.count > MOST { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
    }

    proptest! {
        /// However the bytes come in pieces, and whatever stands between.
        #[test]
        fn the_ping_that_is_too_much_is_found(pieces in proptest::collection::vec(1..40usize, 1..50), between in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut sent = PREFACE.to_vec();
            for _ in 0..MOST {
                sent.extend(frame(PING, 0, &[6; 8]));
                sent.extend(frame(DATA, 0, &[&[PING; 9][..], &between].concat()));
            }
            let last = frame(PING, 0, &[0; 8]);
            let (mut frames, mut rest, mut sizes) = (Frames::new(), &sent[..], pieces.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                prop_assert!(frames.read(piece).is_ok());
                rest = more;
            }
            prop_assert!(frames.read(&last).is_err());
        }

        #[test]
        fn what_is_not_http_2_is_let_be(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::new();
            prop_assert!(frames.read(b"GET / HTTP/1.1\r\n").is_ok() && frames.read(&bytes).is_ok());
        }
    }
}
