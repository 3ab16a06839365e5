//! Rounds that take turns, so that whatever else the machine does falls on all cases alike.

use std::pin::Pin;

/// A size of a measurement: `brief` in a debug build, whose figures mean nothing, but which shows that the bench works.
pub const fn sized(whole: usize, brief: usize) -> usize {
    if cfg!(debug_assertions) { brief } else { whole }
}

type Measured<'a> = Pin<Box<dyn Future<Output = anyhow::Result<f64>> + 'a>>;

/// One side of a comparison: a name, and what measures it once.
pub struct Case<'a> {
    name: &'a str,
    measure: Box<dyn FnMut() -> Measured<'a> + 'a>,
}

/// A case that is measured by awaiting what `measure` returns, once a round. A round should take a second or so.
pub fn case<'a, F>(name: &'a str, mut measure: impl FnMut() -> F + 'a) -> Case<'a>
where
    F: Future<Output = anyhow::Result<f64>> + 'a,
{
    Case { name, measure: Box::new(move || Box::pin(measure())) }
}

/// Measures the cases in turns, A B A B …, every other round backwards, and returns their medians in the order of the
/// cases. There are never fewer than three rounds, but in a debug build, which has one.
pub async fn interleaved<const N: usize>(rounds: usize, mut cases: [Case<'_>; N]) -> anyhow::Result<[f64; N]> {
    let mut figures = [(); N].map(|()| Vec::new());
    for round in 0..sized(rounds.max(3), 1) {
        for turn in 0..N {
            let at = if round % 2 == 0 { turn } else { N - 1 - turn };
            let Case { name, measure } = &mut cases[at];
            let figure = measure().await?;
            eprintln!("  round {}: {name}: {figure:.1}", round + 1);
            figures[at].push(figure);
        }
    }
    Ok(figures.map(|mut figures| median(&mut figures)))
}

/// The middle one, or the mean of the two in the middle. Sorts; not a number for nothing.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    match (figures.len() / 2, figures.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => f64::midpoint(figures[middle - 1], figures[middle]),
        (middle, _) => figures[middle],
    }
}
