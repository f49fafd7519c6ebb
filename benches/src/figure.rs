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
