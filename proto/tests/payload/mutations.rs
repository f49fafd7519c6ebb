//! Payloads with random damage: each is read or refused; none aborts, hangs or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use bytes::Bytes;
use proto::{Decoder, Encoder, Table, TableCodec};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::damage::{damage, planned, seed};
use crate::sample;

/// All types at once, each type alone, and a record without rows.
fn payloads() -> Vec<Bytes> {
    let (table, rows) = sample::table("everything", sample::columns());
    let mut payloads = vec![
        sample::payload(&table, &rows),
        sample::payload(&table, &rows.slice(0, 0)),
    ];
    for column in sample::columns() {
        let (table, rows) = sample::table("one", vec![column]);
        payloads.push(sample::payload(&table, &rows));
    }
    payloads
}

/// Everything that is done with a payload on its way to a destination and out again.
fn use_it(payload: &Bytes) -> bool {
    let Ok(rows) = Decoder::default().record(payload) else {
        return false;
    };
    let bytes: usize = rows
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum();
    assert!(
        bytes <= 4 * payload.len() + (1 << 20),
        "{bytes} bytes out of {}",
        payload.len()
    );
    let Some(sent) = round_trip(&rows) else {
        return true;
    };
    assert_eq!(sent.num_rows(), rows.num_rows());
    true
}

fn round_trip(rows: &RecordBatch) -> Option<RecordBatch> {
    let codec = TableCodec::of_table(Table::of_schema(&rows.schema()).ok()?).ok()?;
    let ours = codec.rows_from_wire(rows).ok()?;
    let back = TableCodec::of_stream(codec.ours(), "t").ok()?;
    let columns = back.rows_to_wire(&ours).ok()?;
    let sent = RecordBatch::try_new(Arc::clone(back.wire()), columns).ok()?;
    let payload = Encoder::new(Arc::clone(back.wire())).ok()?.encode(&sent).ok()?;
    Some(Decoder::default().record(&payload).unwrap())
}

#[test]
fn damaged_payloads_are_read_or_refused() {
    let (seed, cases, payloads) = (seed(), planned(1_000_000), payloads());
    println!("seed {seed}, {cases} cases");
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut read, mut slowest) = (0_u64, Duration::ZERO);
    let mut failures = Vec::new();
    for case in 0..cases {
        let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(case));
        let mut bytes = payloads.choose(&mut random).unwrap().to_vec();
        // Two times in three behind the schema, which is most of a small payload.
        let schema_end = 8 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let from = if random.random_ratio(2, 3) { schema_end } else { 0 };
        damage(&mut bytes, from, &mut random);
        let payload = Bytes::from(bytes);
        let start = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| use_it(&payload))) {
            Ok(is_read) => read += u64::from(is_read),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                failures.push(format!(
                    "seed {}: {}",
                    seed.wrapping_add(case),
                    text.unwrap_or_default()
                ));
            }
        }
        slowest = slowest.max(start.elapsed());
    }
    std::panic::set_hook(quiet);
    println!(
        "{read} were read, {} refused, the slowest took {slowest:?}",
        cases - read
    );
    assert!(
        failures.is_empty(),
        "HIGHWATER_SEED={seed} repeats it: {:#?}",
        &failures[..failures.len().min(20)]
    );
    // Damage to values leaves a payload readable, damage to lengths does not: both must have been met.
    assert!(read > cases / 100 && read < cases, "{read} of {cases} were read");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
