//! `daybook log verify`: the log against its own hashes, its signed heads in the database and outside, and the stream on NATS.
//!
//! It reads everything once ([`pass`]) and changes nothing. The arithmetic of the tree is the product's, since every proof
//! rests on it anyway; what a message must be is the auditor's own.

mod bus;
mod finding;
mod pass;
mod places;
mod row;
mod sealed;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use events::seal::{File, Keys, PublicKey};
use serde_json::json;
use service::config::Secret;
use sqlx::{Connection as _, PgConnection};

use self::finding::{Finding, Findings, What};
use self::pass::{Evidence, Seen};
use super::progress::Progress;
use crate::reach::Reach;
use crate::{receipt, up};

/// How long the relay may take to bring the stream to the end of the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is checked, and with what.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    reach: Reach,
    /// NATS, as nats://user:password@host:port [default: that of the running `daybook up`; none beside a `DATABASE_URL`].
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<Secret>,
    /// The key that heads must be signed with, as PEM (public or private) [default: that of the data folder].
    #[arg(long, env = "DAYBOOK_SEAL_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The file of heads outside the database [default: that of the data folder].
    #[arg(long, env = "DAYBOOK_SEAL_FILE", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Leaves the stream on NATS out.
    #[arg(long)]
    without_nats: bool,
    /// Prints one JSON object a line, a summary as the last, instead of text.
    #[arg(long)]
    json: bool,
}

/// Checks all of it and says what was found. Whether all is well.
pub async fn run(settings: Settings) -> anyhow::Result<bool> {
    let Settings { reach, nats_url, key, file, without_nats, json } = settings;
    let database = reach.database_url()?;
    let nats = if without_nats { None } else { reach.nats_url(nats_url.as_ref())? };
    let mut notes = Vec::new();
    let keys = if let Some(file) = key.or_else(|| reach.kept(up::SEAL_KEY)) {
        receipt::keys(&file)?
    } else {
        notes.push("the key is the database's own: whoever rewrites the one can rewrite the other; give --key");
        stored_keys(&database).await?
    };
    let file = file.or_else(|| reach.kept(up::SEAL_FILE)).map(File::at);
    if file.is_none() {
        notes.push("no file of heads outside the database was given (--file): heads are the database's own");
    }
    if nats.is_none() {
        notes.push("the stream on NATS was not looked at");
    }
    let evidence = Evidence { database, nats, file, keys, patience: PATIENCE };
    let progress = Progress::default();
    let (seen, found) = progress.shown(Box::pin(pass::verify(&evidence, &progress))).await?;
    if seen.sealed == 0 {
        notes.push("the log has no signed head");
    }
    if json {
        print_json(&seen, &found, &notes);
    } else {
        print_text(&seen, &found, &notes);
    }
    Ok(found.is_empty())
}

/// The keys that the database has.
async fn stored_keys(url: &str) -> anyhow::Result<Keys> {
    let mut database = PgConnection::connect(url).await.context("the database cannot be reached")?;
    let keys: Vec<Vec<u8>> = sqlx::query_scalar("select public from seal_key").fetch_all(&mut database).await?;
    Ok(Keys(keys.into_iter().filter_map(|key| key.try_into().ok()).map(PublicKey).collect()))
}

fn print_json(seen: &Seen, found: &Findings, notes: &[&str]) {
    for finding in found.sorted() {
        println!("{}", json!({ "finding": finding }));
    }
    let first =
        found.first().map(|(what, position, until)| json!({ "what": what, "position": position, "until": until }));
    let (stream, messages) = seen.stream.clone().unzip();
    let summary = json!({
        "well": found.is_empty(), "first": first, "findings": found.total(), "events": seen.events, "sealed": seen.sealed,
        "heads": seen.stored, "heads_outside": seen.filed, "stream": stream, "messages": messages, "notes": notes,
    });
    println!("{}", json!({ "summary": summary }));
}

fn print_text(seen: &Seen, found: &Findings, notes: &[&str]) {
    let Seen { events, sealed, stored, filed, stream } = seen;
    println!("log     {events} events, {sealed} of them under a signed head");
    println!("heads   {stored} in the database, {filed} in the file outside");
    match stream {
        Some((name, messages)) => println!("stream  {name}, {messages} messages compared"),
        None => println!("stream  not compared"),
    }
    for note in notes {
        println!("note    {note}");
    }
    if found.is_empty() {
        println!("\nAll is well.");
        return;
    }
    println!();
    if let Some((what, position, until)) = found.first() {
        println!("The first event that is not what it was: {}\n", told(what, position, until));
    }
    for Finding { what, position, until, how } in found.sorted() {
        match position {
            Some(position) => println!("{}: {how}", told(*what, *position, *until)),
            None => println!("{how}"),
        }
    }
    let shown = found.sorted().len();
    if found.total() > shown {
        println!("and {} more", found.total() - shown);
    }
}

fn told(what: What, position: i64, until: Option<i64>) -> String {
    let became = match what {
        What::Removed => "removed",
        What::Inserted => "inserted",
        What::Swapped => "swapped",
        What::Changed => "changed",
        What::Head | What::Tree | What::Stream | What::Unsealed => "in doubt",
    };
    match until {
        Some(until) => format!("position {position} to {until}, {became}"),
        None => format!("position {position}, {became}"),
    }
}
