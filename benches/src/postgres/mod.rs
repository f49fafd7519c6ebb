//! PostgreSQL as source and destination, beside what the server itself can do. Each bench starts its own servers.

mod apply;
mod decode;
mod fan_out;
mod latency;
mod server;
mod snapshot;

pub(crate) use apply::run as apply;
pub(crate) use decode::run as decode;
pub(crate) use fan_out::run as fan_out;
pub(crate) use latency::run as latency;
pub(crate) use snapshot::run as snapshot;

/// Time of our own process on the processors, threads included, in microseconds.
fn cpu_micros() -> crate::rig::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything, come the state and fifty numbers: user and system time are the 12th and 13th.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    // The kernel counts in hundredths of a second, whatever its own tick is.
    Ok(ticks * 10_000.0)
}
