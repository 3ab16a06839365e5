//! Where something is written that is of use only when it is whole: a file that gets its name when it is, or standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Stdout, Write, stdout};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Standard output, or a file that is not there before [`Self::commit`].
#[derive(Debug)]
pub enum Out {
    /// Standard output.
    Standard(Stdout),
    /// A file.
    File(Part),
}

impl Out {
    /// The file `path`, which must not be there yet; standard output for none.
    pub fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        path.map_or_else(|| Ok(Self::Standard(stdout())), |path| Part::create(path).map(Self::File))
    }

    /// It is whole: gives it its name.
    pub fn commit(self) -> anyhow::Result<()> {
        match self {
            Self::Standard(mut out) => out.flush().context("standard output"),
            Self::File(part) => part.commit(),
        }
    }

    /// Where it goes, in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Standard(_) => "standard output".to_owned(),
            Self::File(part) => part.path.display().to_string(),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(bytes),
            Self::File(part) => part.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::File(part) => part.file.flush(),
        }
    }
}

/// A file beside the one that it becomes. Dropped before that, it is removed.
#[derive(Debug)]
pub struct Part {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl Part {
    /// Begins the file `path`, which must not be there yet. Only its owner can read it.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        absent(path)?;
        let beside = beside(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { file, beside, path: path.to_owned() })
    }

    /// Where it is until then.
    pub fn beside(&self) -> &Path {
        &self.beside
    }

    /// Gives it its name, once it is on the disk.
    pub fn commit(self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("{} cannot be written", self.path.display()))?;
        name(&self.beside, &self.path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After it was given its name there is none.
        let _ = fs::remove_file(&self.beside);
    }
}

/// The name under which the file `path` is written. It shows what was left behind by whom, where that was killed.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

/// Refuses a path that is taken.
fn absent(path: &Path) -> anyhow::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        bail!("{} is there already: nothing is written over it; remove it, or choose another name", path.display());
    }
    Ok(())
}

/// Gives the file `part`, which is on the disk, the name `path`, and never takes that from another.
fn name(part: &Path, path: &Path) -> anyhow::Result<()> {
    // Unlike a rename, a link does not replace what is there.
    let named = match fs::hard_link(part, path) {
        Ok(()) => fs::remove_file(part),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return absent(path),
        // Not every file system has links.
        Err(_) => absent(path).map(|()| fs::rename(part, path))?,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = named.and_then(|()| File::open(folder)?.sync_all());
    named.with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let mut out = Out::create(Some(&path)).unwrap();
        out.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(out);
        assert_eq!(names(), 0);

        let mut out = Out::create(Some(&path)).unwrap();
        out.write_all(b"whole").unwrap();
        out.commit().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names()), (b"whole".to_vec(), 1));
        let refused = Out::create(Some(&path)).unwrap_err().to_string();
        assert!(refused.contains("is there already"), "{refused}");
        let refused = Out::create(Some(&folder.path().join("no/where"))).unwrap_err();
        assert!(format!("{refused:#}").contains("No such file"), "{refused:#}");
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let Out::File(mut part) = Out::create(Some(&path)).unwrap() else { panic!() };
        part.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut out = Out::File(part);
        assert_eq!(out.write_all(&[7; 9000]).unwrap_err().kind(), ErrorKind::StorageFull);
        drop(out);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_that_was_quicker_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let out = Out::create(Some(&path)).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(out.commit().is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
