//! Payloads and messages with random damage: each is read or refused; none aborts, hangs or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use bytes::Bytes;
use prost::Message;
use proto::plugin_v3::{sync, write};
use proto::{Decoder, Encoder, Table, TableCodec};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sample;

/// A tenth of it, unless `HIGHWATER_CHAOS=full`.
const CASES: u64 = 1_000_000;

fn case_count() -> u64 {
    let is_full = std::env::var("HIGHWATER_CHAOS").is_ok_and(|level| level == "full");
    if is_full { CASES } else { CASES / 10 }
}

fn seed() -> u64 {
    let given = std::env::var("HIGHWATER_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(rand::random)
}

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

/// Numbers that lengths and offsets should not be.
const ODD: [i64; 12] = [
    0,
    1,
    -1,
    7,
    8,
    255,
    256,
    65_535,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
];

/// Damages bytes at `from` and behind.
fn damage(bytes: &mut Vec<u8>, from: usize, random: &mut ChaCha8Rng) {
    for _ in 0..random.random_range(1..=4) {
        if bytes.len() <= from {
            return;
        }
        let at = random.random_range(from..bytes.len());
        match random.random_range(0..7) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => {
                let piece: Vec<u8> = bytes[at..bytes.len().min(at + random.random_range(1..64))].to_vec();
                let to = random.random_range(0..bytes.len());
                bytes.splice(to..to, piece);
            }
            // Lengths, offsets and counts lie at multiples of four.
            4 => put(bytes, at & !3, &odd(random).to_le_bytes()[..4]),
            5 => put(bytes, at & !7, &odd(random).to_le_bytes()),
            _ => put(bytes, at & !3, &random.random_range(0..64_u32).to_le_bytes()),
        }
    }
}

fn odd(random: &mut ChaCha8Rng) -> i64 {
    *ODD.choose(random).unwrap()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let end = bytes.len().min(at + value.len());
    bytes[at..end].copy_from_slice(&value[..end - at]);
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
    let (seed, cases, payloads) = (seed(), case_count(), payloads());
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

#[test]
fn damaged_messages_are_read_or_refused() {
    let seed = seed();
    println!("seed {seed}");
    let record = payloads().remove(0);
    let insert = write::request::Message::Insert(write::MessageInsert { record: record.clone() });
    let request = write::Request { message: Some(insert) }.encode_to_vec();
    let error = sync::response::Message::Error(sync::MessageError {
        table_name: "t".to_owned(),
        error: "no".to_owned(),
    });
    let response = sync::Response { message: Some(error) }.encode_to_vec();
    let mut read = 0;
    for case in 0..case_count() / 10 {
        let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(case));
        for (bytes, is_request) in [(&request, true), (&response, false)] {
            let mut bytes = bytes.clone();
            damage(&mut bytes, 0, &mut random);
            let bytes = Bytes::from(bytes);
            let is_read = match is_request {
                true => write::Request::decode(bytes).is_ok(),
                false => sync::Response::decode(bytes).is_ok(),
            };
            read += u64::from(is_read);
        }
    }
    assert!(read > 0, "HIGHWATER_SEED={seed} repeats it");
}
