//! Printing a figure beside its limit.

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The median of three runs of `measure`.
pub(crate) fn median(measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut measure = measure;
    let [figure] = medians([&mut measure])?;
    Ok(figure)
}

/// The medians of three runs of each, in turns, so that a machine that slows down slows all of them.
pub(crate) fn medians<const N: usize>(mut measures: [&mut dyn FnMut() -> Result<f64>; N]) -> Result<[f64; N]> {
    let mut runs = [[0.0; 3]; N];
    for turn in 0..3 {
        for (runs, measure) in runs.iter_mut().zip(&mut measures) {
            runs[turn] = measure()?;
        }
    }
    Ok(runs.map(|mut runs| {
        runs.sort_by(f64::total_cmp);
        runs[1]
    }))
}

/// One line: what, its figure, the limit's name and figure, and the ratio of the two.
pub(crate) fn print(what: &str, figure: f64, unit: &str, limit: &str, limit_figure: f64, aim: &str) {
    let ratio = figure / limit_figure;
    println!(
        "  {what:<44} {figure:>12.0} {unit:<7} | {limit:<40} {limit_figure:>12.0} | ratio {ratio:>6.2}  (aim {aim})"
    );
}

/// One line: the median, the 99th percentile and the largest of some waits, in milliseconds.
pub(crate) fn print_waits(what: &str, mut waits: Vec<f64>, aim: &str) {
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| {
        waits
            .get((waits.len().saturating_sub(1) as f64 * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "  {what:<58} p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms  (aim {aim})",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
