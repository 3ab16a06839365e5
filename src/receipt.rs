//! `daybook receipt`: checks a receipt with nothing but the log's public key, on any machine.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use events::seal::receipt::Proven;
use events::seal::{Keys, Receipt};
use serde_json::{Value, json};

/// What is done with receipts.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Checks that the events of a receipt are in the log, by the public key alone.
    ///
    /// A receipt is what GET /api/v1/executions/{id}/receipt answers, the key what GET /api/v1/log/key does. Neither a
    /// database nor a network is needed. The exit code is 0 only if all of it is proven.
    #[command(after_help = "Examples:
  curl -sS http://127.0.0.1:8080/api/v1/log/key >key.pem
  curl -sS -H \"authorization: Bearer $TOKEN\" http://127.0.0.1:8080/api/v1/executions/$ID/receipt >receipt.json
  daybook receipt verify receipt.json --key key.pem")]
    Verify(Settings),
}

/// What is checked.
#[derive(Args, Debug)]
pub struct Settings {
    /// The receipt; - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The log's public key, or several, as PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(Command::Verify(settings): Command) -> ExitCode {
    match verify(&settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("daybook receipt verify: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn verify(Settings { file, key, json }: &Settings) -> anyhow::Result<bool> {
    let keys = keys(key)?;
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.with_context(|| file.display().to_string())?;
    let receipt: Receipt = serde_json::from_str(&text).with_context(|| format!("{} is no receipt", file.display()))?;
    let found = receipt.verify(&keys);
    if *json {
        let why = found.as_ref().err().map(ToString::to_string);
        println!(
            "{}",
            json!({ "proven": found.is_ok(), "why": why, "head": receipt.head, "events": events(&receipt) })
        );
        return Ok(found.is_ok());
    }
    match &found {
        Ok(()) => println!("{}", table(&receipt)),
        Err(why) => println!("NOT PROVEN: {why}"),
    }
    Ok(found.is_ok())
}

/// The keys in a file.
pub fn keys(file: &Path) -> anyhow::Result<Keys> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Keys::from_pem(&text).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))
}

/// The events without their proofs.
fn events(receipt: &Receipt) -> Vec<Value> {
    let event = |event: &Proven| {
        let Proven { position, kind, id, recorded_at, .. } = event;
        json!({ "position": position, "kind": kind, "id": id, "recorded_at": recorded_at })
    };
    receipt.events.iter().map(event).collect()
}

fn table(receipt: &Receipt) -> String {
    let events = receipt.events.iter().fold(String::new(), |text, event| {
        text + &format!("{:>10}  {:<30}  {}\n", event.position, event.kind, event.recorded_at)
    });
    let head = receipt.head.head;
    let of = receipt.events.first().map(|event| format!("{} {}", event.stream, event.id)).unwrap_or_default();
    format!(
        "{:>10}  {:<30}  recorded at\n{events}proven: these are the first {} events of {of}, at these places of the log,\n\
         under the head of {} events that the key {} has signed at {}",
        "position",
        "event",
        receipt.events.len(),
        head.size,
        receipt.head.key,
        head.time
    )
}
