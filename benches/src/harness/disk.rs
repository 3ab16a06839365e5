//! How fast the disk makes a commit durable, which decides how much there is to gain by gathering commits.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// From so many flushes a second on, a disk is called fast.
const FAST: f64 = 3000.0;
/// As much as one page of PostgreSQL's write-ahead log.
const PAGE: [u8; 8192] = [0x5a; 8192];
/// How long is measured.
const WHILE: Duration = Duration::from_millis(500);

/// What kind of disk the run is on. Floors differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// More than 3,000 flushes a second.
    Fast,
    /// Fewer.
    Slow,
}

impl Disk {
    /// Measures the disk that servers of this run keep their data on, and says what it is.
    pub fn measure() -> anyhow::Result<Self> {
        let rate = flush_rate(&daybook::system::scratch("disk"))?;
        let disk = if rate > FAST { Self::Fast } else { Self::Slow };
        eprintln!("disk: {rate:.0} flushes/s of 8 KiB appends: {disk:?}");
        Ok(disk)
    }

    /// One of two values.
    pub fn pick<T>(self, fast: T, slow: T) -> T {
        match self {
            Self::Fast => fast,
            Self::Slow => slow,
        }
    }
}

/// Appends of 8 KiB to one file in `folder`, each flushed by itself (`fdatasync`), per second.
pub fn flush_rate(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("flush");
    let doing = || format!("flushing {}", path.display());
    let mut file = File::create(&path).with_context(doing)?;
    let start = Instant::now();
    let mut flushes = 0_u32;
    while start.elapsed() < WHILE {
        file.write_all(&PAGE).and_then(|()| file.sync_data()).with_context(doing)?;
        flushes += 1;
    }
    let rate = f64::from(flushes) / start.elapsed().as_secs_f64();
    std::fs::remove_file(&path).with_context(doing)?;
    Ok(rate)
}
