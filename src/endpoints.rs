//! `endpoints.json` in the data folder: where a running `daybook up` can be reached. It is there only while it is ready.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What the file says.
#[derive(Debug, Serialize)]
pub struct Endpoints<'a> {
    /// The base of both APIs, without a path.
    pub http: String,
    /// A reader's URL: it may subscribe and read the stream, and publish nothing.
    pub nats_url: &'a str,
    /// The database, as the application.
    pub database_url: &'a str,
    /// The database as its owner, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_owner_url: Option<&'a str>,
    /// The process id of `daybook up`.
    pub pid: u32,
}

/// The file, which is removed when this is dropped.
#[derive(Debug)]
pub struct Published(PathBuf);

/// Writes the file, readable by its owner only (it holds passwords). It is never there in part.
pub fn publish(folder: &Path, endpoints: &Endpoints<'_>) -> io::Result<Published> {
    let file = folder.join("endpoints.json");
    let part = folder.join("endpoints.json.part");
    withdraw(folder)?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    serde_json::to_writer(&mut out, endpoints)?;
    out.write_all(b"\n")?;
    std::fs::rename(&part, &file)?;
    Ok(Published(file))
}

/// Removes what an earlier run that was killed has left.
pub fn withdraw(folder: &Path) -> io::Result<()> {
    for name in ["endpoints.json", "endpoints.json.part"] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Drop for Published {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "it could not be removed");
        }
    }
}
