//! Where figures go: one JSON line each to a file, and a table for people at the end.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use super::Figure;

/// The figures of one bench.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    path: PathBuf,
    file: File,
    figures: Vec<Figure>,
}

/// A figure as it stands in the file: raw.
#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    case: &'a str,
    unit: &'a str,
    ours: f64,
    reference: &'a str,
    theirs: Option<f64>,
    n: usize,
}

impl Report {
    /// An empty report; what an earlier run left in `target/bench/<bench>.jsonl` is gone. Brief figures go beside.
    pub fn new(bench: &'static str) -> anyhow::Result<Self> {
        let folder = target().join(if cfg!(debug_assertions) { "bench-brief" } else { "bench" });
        let path = folder.join(format!("{bench}.jsonl"));
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { bench, path, file, figures: Vec::new() })
    }

    /// Writes a figure down, so that it is kept whatever becomes of the rest of the run.
    pub fn add(&mut self, figure: Figure) -> anyhow::Result<()> {
        let Figure { case, unit, ours, reference, theirs, n, .. } = &figure;
        let line = Line { bench: self.bench, case, unit, ours: *ours, reference, theirs: *theirs, n: *n };
        let line = serde_json::to_string(&line)?;
        writeln!(self.file, "{line}").with_context(|| format!("writing {}", self.path.display()))?;
        let beside = theirs.map(|theirs| format!(", {reference} {}", amount(theirs))).unwrap_or_default();
        let ratio = figure.ratio().map(|ratio| format!(" ({ratio:.2}×)")).unwrap_or_default();
        eprintln!("{} / {case}: {} {unit}{beside}{ratio}", self.bench, amount(*ours));
        self.figures.push(figure);
        Ok(())
    }

    /// Prints the table.
    pub fn finish(self) -> anyhow::Result<()> {
        let header = ["case", "unit", "ours", "reference", "theirs", "ratio", "floor", "reached"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(header).chain(self.figures.iter().map(row)).collect();
        let mut widths = [0; 8];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{}", self.bench)?;
        for row in &rows {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "  {}", cells.join("  ").trim_end())?;
        }
        writeln!(out, "  raw: {}", self.path.display())?;
        Ok(())
    }
}

fn row(figure: &Figure) -> [String; 8] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let reached = figure.reached().map(|reached| if reached { "yes" } else { "NO" }.to_owned());
    [
        figure.case.clone(),
        figure.unit.to_owned(),
        amount(figure.ours),
        figure.reference.clone(),
        or_none(figure.theirs.map(amount)),
        or_none(figure.ratio().map(|ratio| format!("{ratio:.2}×"))),
        or_none(figure.floor.map(|floor| floor.to_string())),
        or_none(reached),
    ]
}

/// A number for people: three or more digits that mean something.
fn amount(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Cargo's target folder: the one that this program was built into, which bears a `CACHEDIR.TAG`.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let built_into = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let told = || std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    built_into.map(PathBuf::from).or_else(told).unwrap_or_else(|| "target".into())
}
