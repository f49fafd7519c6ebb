//! Printing a figure beside its limit.

/// The median of three runs of `measure`.
pub(crate) fn median(
    mut measure: impl FnMut() -> Result<f64, Box<dyn std::error::Error>>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let mut runs = [measure()?, measure()?, measure()?];
    runs.sort_by(f64::total_cmp);
    Ok(runs[1])
}

/// One line: what, its figure, the limit's name and figure, and the ratio of the two.
pub(crate) fn print(what: &str, figure: f64, unit: &str, limit: &str, limit_figure: f64, aim: &str) {
    let ratio = figure / limit_figure;
    println!(
        "  {what:<44} {figure:>12.0} {unit:<7} | {limit:<40} {limit_figure:>12.0} | ratio {ratio:>6.2}  (aim {aim})"
    );
}
