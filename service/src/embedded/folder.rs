//! The data folder: where it is, who works in it, and the secrets that it keeps.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Error;
use super::child::{UNPRIVILEGED, is_root};
use crate::telemetry;

/// An opened data folder. Only one process has it open at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    shared: PathBuf,
    _lock: File,
}

/// Takes the lock, within two seconds: an owner that was killed holds it until it is taken apart, and a child that some
/// thread has forked holds what we hold until its exec.
fn taken(lock: &File) -> bool {
    for _ in 0..100 {
        if lock.try_lock().is_ok() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

impl Folder {
    /// Where the data folder is, without making it: `asked` (`DAYBOOK_DATA`), else `.daybook` in the working directory.
    /// Where we are root and the unprivileged user could not enter that default, it is a folder under `/var/tmp` whose
    /// name is derived from it.
    pub fn locate(asked: Option<&Path>) -> Result<PathBuf, Error> {
        let wanted = asked.unwrap_or(Path::new(".daybook"));
        let path = std::path::absolute(wanted).map_err(Error::io("finding", wanted))?;
        if asked.is_some() || !is_root() || enterable(&path) {
            return Ok(path);
        }
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        Ok(PathBuf::from(format!("/var/tmp/daybook-{}", &hex::encode(digest)[..12])))
    }

    /// Makes the folder where it is missing and takes it for this process, until it is dropped.
    pub fn open(path: &Path) -> Result<Self, Error> {
        make_own(path)?;
        let path = path.canonicalize().map_err(Error::io("entering", path))?;
        let lock_path = path.join("lock");
        let opening = || Error::io("opening", &lock_path);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(opening())?;
        if !taken(&lock) {
            let mut owner = String::new();
            // Only for the message.
            let _ = lock.read_to_string(&mut owner);
            return Err(Error::InUse { folder: path, owner: owner.trim().parse().ok() });
        }
        lock.set_len(0).map_err(opening())?;
        write!(lock, "{}", std::process::id()).map_err(opening())?;
        let shared = shared_home(&path)?;
        Ok(Self { path, shared, _lock: lock })
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the servers live, programs and data: the folder itself, unless it had to be another, which the unprivileged
    /// user can enter.
    pub fn servers_home(&self) -> &Path {
        &self.shared
    }

    /// The secret of this name: 32 random bytes in hex, made at the first call and kept in a file that only we can read.
    pub fn secret(&self, name: &str) -> Result<String, Error> {
        secret(&self.path.join(name))
    }
}

/// The secret kept in this file, made where there is none yet. It is not logged.
pub(super) fn secret(file: &Path) -> Result<String, Error> {
    let secret = kept(file)?;
    telemetry::hide(&secret);
    Ok(secret)
}

fn kept(file: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().len() == 64 => Ok(text.trim().to_owned()),
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::io("reading", file)(source)),
        _ => {
            let text = hex::encode(rand::random::<[u8; 32]>());
            write_private(file, &text)?;
            Ok(text)
        }
    }
}

/// Writes a file that only its owner can read. It is never there in part: it is written beside and renamed.
pub(super) fn write_private(file: &Path, text: &str) -> Result<(), Error> {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    // One that is left over might have other rights.
    let _ = std::fs::remove_file(&part);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&part, file))
        .map_err(Error::io("writing", file))
}

/// Gives a file or folder to the user that servers run as, with these rights.
pub(super) fn give(path: &Path, mode: u32) -> Result<(), Error> {
    let owner = is_root().then_some(UNPRIVILEGED);
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .and_then(|()| if owner.is_some() { chown(path, owner, owner) } else { Ok(()) })
        .map_err(Error::io("giving a server", path))
}

/// Gives a folder with all that is in it to the user that servers run as. Only root has anything to give; links are given, and not
/// followed.
pub(super) fn give_all(folder: &Path) -> Result<(), Error> {
    if !is_root() {
        return Ok(());
    }
    let giving = |path: &Path| Error::io("giving a server", path);
    lchown(folder, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).map_err(giving(folder))?;
    for entry in std::fs::read_dir(folder).map_err(giving(folder))? {
        let entry = entry.map_err(giving(folder))?;
        let path = entry.path();
        if entry.file_type().map_err(giving(&path))?.is_dir() {
            give_all(&path)?;
        } else {
            lchown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).map_err(giving(&path))?;
        }
    }
    Ok(())
}

/// Makes a folder that others may pass through but not list, and refuses one that belongs to somebody else (names under
/// `/var/tmp` can be guessed).
pub(crate) fn make_own(path: &Path) -> Result<(), Error> {
    let mode = if is_root() { 0o711 } else { 0o700 };
    if !path.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            // Again, for the umask may have taken the bit that lets the unprivileged user pass.
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(Error::io("creating", path))?;
    }
    let owner = std::fs::metadata(path).map_err(Error::io("entering", path))?.uid();
    let ours = owner == rustix::process::geteuid().as_raw();
    if !ours && (!is_root() || path.starts_with("/var/tmp")) {
        let why = std::io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user");
        return Err(Error::io("entering", path)(why));
    }
    Ok(())
}

/// Where the unprivileged user can work for the data folder at `path`: there, or in a folder under `/var/tmp` that a file
/// in `path` remembers.
fn shared_home(path: &Path) -> Result<PathBuf, Error> {
    if !is_root() || enterable(path) {
        return Ok(path.to_owned());
    }
    let note = path.join("postgres-home");
    let home = if let Ok(home) = std::fs::read_to_string(&note) {
        PathBuf::from(home.trim())
    } else {
        let home = format!("/var/tmp/daybook-{}", hex::encode(rand::random::<[u8; 6]>()));
        write_private(&note, &home)?;
        PathBuf::from(home)
    };
    make_own(&home)?;
    tracing::info!(home = %home.display(), folder = %path.display(),
        "the servers keep their data elsewhere: root's data folder cannot be entered by their unprivileged user");
    Ok(home)
}

/// Whether the unprivileged user could enter `path`, as far as it exists: what is missing we make so that it can.
pub(super) fn enterable(path: &Path) -> bool {
    let Some(existing) = path.ancestors().find_map(|part| part.canonicalize().ok()) else {
        return false;
    };
    existing.ancestors().all(|part| {
        std::fs::metadata(part).is_ok_and(|meta| {
            let bit = if meta.uid() == UNPRIVILEGED {
                0o100
            } else if meta.gid() == UNPRIVILEGED {
                0o010
            } else {
                0o001
            };
            !meta.is_dir() || meta.mode() & bit != 0
        })
    })
}
