//! The passphrase under which credentials are kept: from the environment or from whoever is at the terminal, never from the
//! command line, which every process of the machine can read.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use service::config::Secret;

/// Where it may be.
const VARIABLE: &str = "DAYBOOK_PASSPHRASE";
/// The fewest bytes of a new one.
const LEAST: usize = 8;
/// More than a terminal gives of one line.
const LINE: usize = 8192;
/// What Ctrl-C types.
const CTRL_C: u8 = 3;

/// One that something is to be kept under: asked for twice.
pub fn new() -> anyhow::Result<Secret> {
    if let Some(secret) = from_environment()? {
        return long(secret);
    }
    let mut terminal = Terminal::open()?;
    let secret = long(terminal.ask("Passphrase for the credentials: ")?)?;
    if terminal.ask("Once more: ")? != secret {
        bail!("the two are not the same");
    }
    Ok(secret)
}

/// One that something was kept under.
pub fn known() -> anyhow::Result<Secret> {
    match from_environment()? {
        Some(secret) => Ok(secret),
        None => Terminal::open()?.ask("Passphrase of the credentials: "),
    }
}

fn from_environment() -> anyhow::Result<Option<Secret>> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let Ok(text) = value.into_string() else { bail!("{VARIABLE} is not UTF-8") };
    if text.is_empty() {
        bail!("{VARIABLE} is empty");
    }
    Ok(Some(Secret::from(text)))
}

fn long(secret: Secret) -> anyhow::Result<Secret> {
    match secret.expose().len() {
        LEAST.. => Ok(secret),
        length => bail!("the passphrase has {length} bytes, and needs at least {LEAST}"),
    }
}

/// The terminal, also where standard input is something else. It shows what is typed again when this goes; so Ctrl-C ends the
/// line meanwhile, and not the process.
struct Terminal {
    device: File,
    before: Termios,
}

impl Terminal {
    fn open() -> anyhow::Result<Self> {
        let none = || format!("there is no passphrase: set {VARIABLE}, or run it at a terminal");
        let device = OpenOptions::new().read(true).write(true).open("/dev/tty").with_context(none)?;
        let before = tcgetattr(&device).with_context(none)?;
        let mut hidden = before.clone();
        hidden.local_modes &= !(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes |= LocalModes::ECHONL;
        hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(&device, OptionalActions::Flush, &hidden).with_context(none)?;
        Ok(Self { device, before })
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<Secret> {
        self.device.write_all(question.as_bytes())?;
        let mut line = [0; LINE];
        // A terminal gives one line at a time.
        let length = self.device.read(&mut line).context("reading the passphrase")?;
        let line = &line[..length];
        if line.last() == Some(&CTRL_C) {
            bail!("interrupted");
        }
        let line = std::str::from_utf8(line).context("the passphrase")?.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            bail!("there is no passphrase");
        }
        Ok(Secret::from(line.to_owned()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has gone shows nothing.
        let _ = tcsetattr(&self.device, OptionalActions::Flush, &self.before);
    }
}
