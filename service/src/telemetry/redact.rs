//! Secrets stay out of the log, whoever writes the line: what a library says at `trace` is not ours to choose.
//!
//! What counts as a secret is taken from the settings of the process, by their form, so that a new setting is covered without
//! being named here, and from the data folder. Short ones are left alone, for they are parts of common words; what is known to be
//! written out by a library is kept from it in other ways, too.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use percent_encoding::percent_decode_str;
use tracing_subscriber::fmt::MakeWriter;

/// What stands in a secret's place.
const MARK: &str = "[redacted]";

/// The least bytes of a secret that is looked for.
const LEAST: usize = 8;

/// The ends of names of settings whose values are secrets.
const NAMES: [&str; 6] = ["KEY", "SECRET", "TOKEN", "PASSWORD", "PASSPHRASE", "CREDENTIALS"];

/// Those that are known, the longest first: one may be a part of another.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From here on `secret` is not logged, neither as it is nor as it is written in a URL or in quotes.
pub(crate) fn hide(secret: &str) {
    let decoded = percent_decode_str(secret).decode_utf8_lossy().into_owned();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for text in [secret.to_owned(), decoded] {
        let quoted = format!("{text:?}");
        for form in [quoted.trim_matches('"').to_owned(), text] {
            if form.len() >= LEAST && !known.contains(&form) {
                known.push(form);
            }
        }
    }
    known.sort_by_key(|text| std::cmp::Reverse(text.len()));
}

/// Hides what the environment and the command line hold of secrets.
pub(super) fn hide_settings() {
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        setting(name, value);
    }
    let mut flag = String::new();
    for argument in std::env::args_os().skip(1) {
        let Some(argument) = argument.to_str() else { continue };
        match argument.split_once('=').filter(|(name, _)| name.starts_with("--")) {
            Some((name, value)) => setting(name, value),
            None => setting(&flag, argument),
        }
        argument.clone_into(&mut flag);
    }
}

/// Hides what is secret of one setting.
fn setting(name: &str, value: &str) {
    in_url(value).into_iter().for_each(hide);
    let name = name.to_uppercase();
    // A list of name=value, as of OpenTelemetry.
    if name.ends_with("HEADERS") {
        value.split(',').filter_map(|one| one.split_once('=')).for_each(|(_, value)| hide(value.trim()));
    }
    if NAMES.iter().any(|end| name.ends_with(end)) && !is_file(value) && !value.contains("://") {
        hide(value);
    }
}

/// Whether it names a file, which may have yet to be made, and is no secret itself.
fn is_file(value: &str) -> bool {
    let path = Path::new(value);
    path.exists() || path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && folder.exists())
}

/// The password in a URL, and what its parameters have of such.
fn in_url(text: &str) -> Vec<&str> {
    let Some((_, rest)) = text.split_once("://") else { return Vec::new() };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may have a slash that should have been written otherwise.
    let password = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    let parameters = query.split('&').filter_map(|one| one.split_once('='));
    let named = parameters.filter(|(name, _)| NAMES.iter().any(|end| name.to_uppercase().ends_with(end)));
    password.into_iter().chain(named.map(|(_, value)| value)).collect()
}

/// The text without what is hidden.
fn redacted(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut text = Cow::Borrowed(text);
    for secret in known.iter() {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), MARK));
        }
    }
    text
}

/// Standard error, for lines that are written whole.
pub(super) struct Lines;

/// See [`Lines`].
pub(super) struct Line;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::stderr().write_all(redacted(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_the_form_of_their_settings() {
        for (name, value) in [
            ("DATABASE_URL", "postgres://me:p%40ssword-1@host:5/db?sslmode=disable&sslpassword=password-2"),
            ("--smtp-url", "smtps://me:with/slash-3@host"),
            ("SOME_API_KEY", "key/with+slash-4"),
            ("--jwt-secret", "secret \"quoted\" 5"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=value-of-6,b= value-of-7"),
        ] {
            setting(name, value);
        }
        let all = "p@ssword-1 p%40ssword-1 password-2 with/slash-3 key/with+slash-4 secret \"quoted\" 5 \
                   secret \\\"quoted\\\" 5 value-of-6 value-of-7";
        let shown = redacted(all).replace(MARK, "");
        assert_eq!(shown.trim(), "", "all of it is secret");
    }

    #[test]
    fn what_is_no_secret_stays() {
        for (name, value) in [
            ("DAYBOOK_SEAL_KEY", "/tmp/not-there-yet.pem"),
            ("DATABASE_URL", "postgres://someone@host-name/database-name?sslmode=disable"),
            ("NATS_URL", "nats://relay:relay@nats-host"),
            ("RUST_LOG", "information"),
        ] {
            setting(name, value);
        }
        let all = "/tmp/not-there-yet.pem someone@host-name/database-name disable relay nats-host information";
        assert_eq!(redacted(all), all);
    }
}
