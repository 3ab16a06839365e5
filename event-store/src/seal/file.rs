//! The heads outside of the database: a file that is only ever appended to, one head a line, so that whoever rewrites the
//! database does not rewrite what it once was.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{error::Error, head::SignedHead};

/// No line is longer, in bytes.
const LINE: u64 = 4096;

/// The file. All of this blocks: a disk may take its time.
#[derive(Debug, Clone)]
pub struct File(PathBuf);

impl File {
    /// The file at this path, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The last head in it; none where there is no file. A line that a crash has cut short is none.
    pub fn last(&self) -> Result<Option<SignedHead>, Error> {
        let mut file = match fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(&self.0)(error)),
        };
        Ok(ending(&mut file).map_err(Error::file(&self.0))?.last)
    }

    /// Adds `heads` that go further than its last, and returns when they are on the disk. Several processes may do so.
    pub fn append(&self, heads: &[SignedHead]) -> Result<(), Error> {
        self.add(heads).map_err(Error::file(&self.0))
    }

    fn add(&self, heads: &[SignedHead]) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o644).open(&self.0)?;
        file.lock()?;
        let Ending { whole, torn, last } = ending(&mut file)?;
        if torn {
            file.set_len(whole)?;
        }
        let known = last.map_or(0, |last| last.head.size);
        let lines: String = heads.iter().filter(|head| head.head.size > known).map(|head| head.json() + "\n").collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        if whole == 0 {
            sync_folder(&self.0)?;
        }
        Ok(())
    }

    /// Its lines from the first on, each with its number from 1: a head, or what is wrong with it. A line at the end that was
    /// cut short is left out.
    pub fn lines(&self) -> Result<impl Iterator<Item = (u64, Result<SignedHead, String>)> + use<>, Error> {
        let file = fs::File::open(&self.0).map_err(Error::file(&self.0))?;
        let mut reader = BufReader::new(file);
        let (mut number, mut over) = (0, false);
        Ok(std::iter::from_fn(move || {
            if over {
                return None;
            }
            number += 1;
            let mut line = Vec::new();
            let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line);
            // After what cannot be read nothing is to be said of the rest.
            over = line.last() != Some(&b'\n');
            match read {
                Ok(_) if !over => Some((number, parse(&line))),
                Ok(read) if read as u64 == LINE => Some((number, Err("it is too long for a head".to_owned()))),
                Ok(_) => None,
                Err(error) => Some((number, Err(error.to_string()))),
            }
        }))
    }
}

/// How the file ends.
struct Ending {
    /// The length of its whole lines.
    whole: u64,
    /// Something follows them.
    torn: bool,
    /// The head of the last of them.
    last: Option<SignedHead>,
}

fn ending(file: &mut fs::File) -> io::Result<Ending> {
    let length = file.seek(SeekFrom::End(0))?;
    // The last whole line, what is torn after it, and the end of the line before.
    let from = length.saturating_sub(3 * LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(length - from).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        return if from == 0 { Ok(Ending { whole: 0, torn: length > 0, last: None }) } else { Err(garbled()) };
    };
    let start = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let last = parse(&tail[start..end]).map_err(|_| garbled())?;
    let whole = from + end as u64 + 1;
    Ok(Ending { whole, torn: whole < length, last: Some(last) })
}

fn garbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its last line is no head; look at it, and at daybook log verify")
}

fn parse(line: &[u8]) -> Result<SignedHead, String> {
    serde_json::from_slice(line).map_err(|error| format!("it is no head: {error}"))
}

/// Writes the entry of a new file through to the disk.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::seal::{Head, SigningKey};

    fn heads(sizes: &[i64]) -> Vec<SignedHead> {
        let key = SigningKey::generate().unwrap();
        let head = |size: &i64| Head { size: *size, root: [3; 32], epoch: 1, time: DateTime::UNIX_EPOCH }.sign(&key);
        sizes.iter().map(head).collect()
    }

    fn sizes(file: &File) -> Vec<i64> {
        file.lines().unwrap().map(|(_, head)| head.unwrap().head.size).collect()
    }

    #[test]
    fn it_goes_on_after_its_last_head() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(folder.path().join("heads"));
        assert_eq!(file.last().unwrap(), None);
        let all = heads(&[3, 5, 9]);
        file.append(&all[..2]).unwrap();
        assert_eq!(file.last().unwrap(), Some(all[1]));
        // Another process was as quick.
        file.append(&all).unwrap();
        file.append(&all[..1]).unwrap();
        assert_eq!(sizes(&file), [3, 5, 9]);
    }

    proptest! {
        /// A crash leaves any part of what was being written: the whole lines stay, and the next append heals the rest.
        #[test]
        fn a_line_that_was_cut_short_is_healed(before in vec(1..9i64, 0..4), cut in 1..200usize) {
            let folder = tempfile::tempdir().unwrap();
            let file = File::at(folder.path().join("heads"));
            let mut size = 0;
            let before: Vec<i64> = before.iter().map(|more| { size += more; size }).collect();
            let (old, new) = (heads(&before), heads(&[size + 1, size + 2]));
            file.append(&old).unwrap();
            let mut text = fs::read(file.path()).unwrap();
            let line = new[0].json();
            text.extend(&line.as_bytes()[..cut.min(line.len())]);
            fs::write(file.path(), &text).unwrap();
            prop_assert_eq!(file.last().unwrap(), old.last().copied());
            prop_assert_eq!(sizes(&file), before.clone());
            file.append(&new).unwrap();
            prop_assert_eq!(sizes(&file), [&before[..], &[size + 1, size + 2]].concat());
        }
    }

    #[test]
    fn what_is_no_head_is_told_and_not_written_after() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::at(folder.path().join("heads"));
        file.append(&heads(&[3])).unwrap();
        for garbage in ["{}\n".to_owned(), "x".repeat(20_000), "x".repeat(20_000) + "\n"] {
            let mut text = fs::read_to_string(file.path()).unwrap();
            text.push_str(&garbage);
            fs::write(file.path(), &text).unwrap();
            assert!(file.last().unwrap_err().to_string().contains("no head"));
            assert!(file.append(&heads(&[4])).is_err());
            assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
            let lines: Vec<_> = file.lines().unwrap().collect();
            assert!(lines.len() == 2 && lines[0].1.is_ok() && lines[1].1.is_err(), "{lines:?}");
            text.truncate(text.len() - garbage.len());
            fs::write(file.path(), text).unwrap();
        }
    }
}
