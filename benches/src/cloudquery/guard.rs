//! What it costs to check a payload before Arrow's reader sees it.

use std::hint::black_box;
use std::time::Instant;

use arrow_ipc::reader::StreamReader;
use proto::Decoder;

use super::peer::Records;
use crate::figure;
use crate::rig::Result;

/// Enough repeats that one run takes some tenths of a second.
const RUN_BYTES: usize = 200 << 20;
const REPEATS_MAX: usize = 200_000;

pub(crate) fn run() -> Result<()> {
    for (columns, rows) in [(5, 1), (5, 50), (5, 10_000), (50, 50)] {
        let record = Records::new(columns, rows, 0)?.record;
        let repeats = (RUN_BYTES / record.len()).clamp(100, REPEATS_MAX);
        let nanos_each = |started: Instant| started.elapsed().as_secs_f64() * 1e9 / repeats as f64;
        let mut guarded = || -> Result<f64> {
            let mut decoder = Decoder::default();
            let started = Instant::now();
            for _ in 0..repeats {
                black_box(decoder.record(&record)?);
            }
            Ok(nanos_each(started))
        };
        let mut bare = || -> Result<f64> {
            let started = Instant::now();
            for _ in 0..repeats {
                black_box(StreamReader::try_new(&record[..], None)?.next());
            }
            Ok(nanos_each(started))
        };
        let [guarded, bare] = figure::medians([&mut guarded, &mut bare])?;
        figure::print(
            &format!("checked and read, {columns} columns x {rows} rows"),
            guarded,
            "ns",
            "Arrow's own reader, unchecked",
            bare,
            "<= 1",
        );
    }
    Ok(())
}
