//! Lines out of bytes that are cut anywhere, and server-sent events out of lines (HTML Living Standard, 9.2.5 and 9.2.6).

use events::store::MAX_EVENT_BYTES;

/// The most bytes of one line, and of one event: a text that an event of ours can carry, each of its bytes escaped.
pub(super) const MAX_LINE: usize = 4 * MAX_EVENT_BYTES;

/// A mark that an event stream may begin with.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Why there is no line, or no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is longer than [`MAX_LINE`].
    TooLong,
    /// What comes first is no line of an event stream.
    NoStream,
}

/// Bytes on their way to lines, which end with CR, LF, or both.
#[derive(Default)]
pub(super) struct Lines {
    /// The line whose end has not come.
    begun: Vec<u8>,
    /// The last byte was a CR, so an LF belongs to it.
    after_cr: bool,
}

impl Lines {
    /// Takes more bytes, and gives each line that ends in them.
    pub(super) fn push<E: From<Unreadable>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.begun.len() + piece.len() > MAX_LINE {
                return Err(Unreadable::TooLong.into());
            }
            let Some(mark) = rest.first() else {
                self.begun.extend_from_slice(piece);
                return Ok(());
            };
            self.after_cr = *mark == b'\r';
            if self.begun.is_empty() {
                each(piece)?;
            } else {
                self.begun.extend_from_slice(piece);
                let line = std::mem::take(&mut self.begun);
                each(&line)?;
                // Its memory is good for the next, unless it was an unusual one.
                if line.capacity() <= 64 << 10 {
                    self.begun = line;
                    self.begun.clear();
                }
            }
            bytes = &rest[1..];
        }
        Ok(())
    }

    /// Whether there is a line whose end has not come, and that does not begin like this.
    pub(super) fn is_other_than(&self, prefix: &[u8]) -> bool {
        !self.begun.is_empty() && !self.begun.starts_with(prefix)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.begun.len()
    }

    /// What is left without an end.
    pub(super) fn rest(self) -> Vec<u8> {
        self.begun
    }
}

/// The most bytes of an event's name that are looked at.
const MAX_NAME: usize = 64;

/// Lines on their way to events: their names, and their data.
#[derive(Default)]
pub(super) struct Events {
    name: String,
    data: Vec<u8>,
    has_data: bool,
    /// A line of an event stream has come.
    come: bool,
}

impl Events {
    /// Takes a line, and gives the name and the data of the event that ends with it.
    pub(super) fn line<E: From<Unreadable>>(
        &mut self,
        line: &[u8],
        mut each: impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = if self.come { line } else { line.strip_prefix(BOM).unwrap_or(line) };
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            // By the book, one without data is none. But an error may have nothing to say.
            if std::mem::take(&mut self.has_data) || !name.is_empty() {
                let data = std::mem::take(&mut self.data);
                each(&name, &data)?;
                if data.capacity() <= 64 << 10 {
                    self.data = data;
                    self.data.clear();
                }
            }
            return Ok(());
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        match name {
            // The second is how servers that are made of llama.cpp tell of an error.
            b"data" | b"error" => {
                if name == b"error" {
                    "error".clone_into(&mut self.name);
                }
                let value = value.strip_prefix(b" ").unwrap_or(value);
                if self.data.len() + value.len() + 1 > MAX_LINE {
                    return Err(Unreadable::TooLong.into());
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                self.name = String::from_utf8_lossy(&value[..value.len().min(MAX_NAME)]).into_owned();
            }
            b"" | b"id" | b"retry" => {}
            // By the book it is ignored. But what begins like this is something else altogether, and may have no end.
            _ if !self.come => return Err(Unreadable::NoStream.into()),
            _ => {}
        }
        self.come = true;
        Ok(())
    }

    /// Whether this is the beginning of a line of an event stream, and no more.
    pub(super) fn may_become_one(rest: &[u8]) -> bool {
        let unmarked = rest.strip_prefix(BOM).unwrap_or(rest);
        BOM.starts_with(rest)
            || ["data", "event", "id", "retry", "error"].iter().any(|name| name.as_bytes().starts_with(unmarked))
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.data.len()
    }

    /// Whether a line of an event stream has come.
    pub(super) fn have_come(&self) -> bool {
        self.come
    }
}
