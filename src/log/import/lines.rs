//! The lines of an exported log, compressed or not, from a file or from standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _, stdin};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::log::format::LINE;

/// What a zstd frame begins with (RFC 8878, 3.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 256 << 10;

/// The lines.
pub struct Lines {
    source: Box<dyn BufRead + Send>,
    name: String,
    /// The number of the last line, from 1.
    pub number: u64,
}

impl Lines {
    /// Those of the file `path`; of standard input for `-`.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let (name, mut source): (_, Box<dyn BufRead + Send>) = if path == Path::new("-") {
            ("standard input".to_owned(), Box::new(BufReader::with_capacity(BUFFER, stdin())))
        } else {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| name.clone())?;
            (name, Box::new(BufReader::with_capacity(BUFFER, file)))
        };
        // What is shorter than this is no export either.
        let is_zstd = source.fill_buf().with_context(|| name.clone())?.starts_with(ZSTD);
        if is_zstd {
            let decoder = zstd::Decoder::with_buffer(source).with_context(|| name.clone())?;
            source = Box::new(BufReader::with_capacity(BUFFER, decoder));
        }
        Ok(Self { source, name, number: 0 })
    }

    /// What is read, in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the next line into `line`, with its end. False after the last.
    pub fn next(&mut self, line: &mut Vec<u8>) -> anyhow::Result<bool> {
        line.clear();
        self.number += 1;
        let read = self.source.by_ref().take(LINE as u64 + 1).read_until(b'\n', line);
        let read = read.map_err(|error| self.unreadable(&error))?;
        if read > LINE {
            bail!("line {}: it is longer than any of an export", self.number);
        }
        if read > 0 && line.last() != Some(&b'\n') {
            bail!("line {}: it does not end: {} was cut short", self.number, self.name);
        }
        Ok(read > 0)
    }

    fn unreadable(&self, error: &io::Error) -> anyhow::Error {
        let Self { name, number, .. } = self;
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                anyhow::anyhow!("line {number}: {name} ends within its compressed data: it was cut short")
            }
            _ => anyhow::anyhow!("line {number}: {name} cannot be read: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> (u64, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let (mut lines, mut line) = (Lines::open(&path).unwrap(), Vec::new());
        loop {
            match lines.next(&mut line) {
                Ok(true) => {}
                Ok(false) => return (lines.number - 1, None),
                Err(error) => return (lines.number - 1, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn lines_are_read_plain_and_compressed_and_what_was_cut_short_is_told() {
        let text = (0..5_000).fold(String::new(), |text, n| text + &format!("line {n}\n"));
        assert_eq!(told(text.as_bytes()), (5_000, None));
        let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
        assert_eq!(told(&zstd), (5_000, None));
        assert_eq!(told(&[&zstd[..], &zstd[..]].concat()), (10_000, None));
        assert_eq!(told(b""), (0, None));
        for cut in [5, zstd.len() / 2, zstd.len() - 1] {
            let (_, why) = told(&zstd[..cut]);
            assert!(why.as_ref().unwrap().contains("cut short"), "{cut}: {why:?}");
        }
        let (lines, why) = told(&text.as_bytes()[..text.len() - 1]);
        assert!(lines == 4_999 && why.as_ref().unwrap().contains("cut short"), "{why:?}");
        let (_, why) = told(&vec![b'x'; LINE + 2]);
        assert!(why.as_ref().unwrap().contains("longer than any"), "{why:?}");
    }
}
