//! Comparing the rows of one stream at two places, in little memory however many there are.
//!
//! 1. Every row falls into one of [`BUCKETS`] buckets by the hash of its key. A bucket keeps how many rows it has and the sum of
//!    their hashes, so the order in which rows are read does not matter. Equal buckets hold equal rows.
//! 2. The rows of buckets that differ are read again and looked at one by one ([`Inspection`]), as far as memory allows.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::Fingerprint;

/// More: less to look at where one row differs, and more memory (24 bytes for each place and bucket).
pub const BUCKETS: usize = 65_536;

/// What one place holds of a stream.
pub struct Buckets {
    counts: Vec<u64>,
    sums: Vec<u128>,
    row_count: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        Buckets {
            counts: vec![0; BUCKETS],
            sums: vec![0; BUCKETS],
            row_count: 0,
        }
    }
}

/// The bucket of a key.
fn bucket_of(key: u128) -> usize {
    (key >> 64) as usize % BUCKETS
}

impl Buckets {
    /// Counts a row.
    pub fn add(&mut self, row: Fingerprint) {
        let bucket = bucket_of(row.key);
        self.counts[bucket] += 1;
        self.sums[bucket] = self.sums[bucket].wrapping_add(row.row);
        self.row_count += 1;
    }

    /// How many rows were counted.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// The buckets that differ, and how many rows the fuller side of each has.
    pub fn differing(&self, other: &Buckets) -> Vec<(usize, u64)> {
        (0..BUCKETS)
            .filter(|&at| (self.counts[at], self.sums[at]) != (other.counts[at], other.sums[at]))
            .map(|at| (at, self.counts[at].max(other.counts[at])))
            .collect()
    }
}

/// One of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where rows come from.
    Source,
    /// Where they should lie.
    Destination,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The destination does not have it.
    Missing,
    /// Only the destination has it.
    Extra,
    /// Some of its columns differ.
    Different,
    /// The destination has it more than once.
    Doubled,
}

/// A row that differs, by its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The values of the key columns, in key order.
    pub key: Vec<String>,
    /// What is wrong.
    pub kind: DifferenceKind,
    /// Columns that differ, in the order of the stream; of a doubled row those that differ in any copy.
    pub columns: Vec<String>,
    /// How often the destination has it.
    pub copies: u64,
}

/// Rows of some buckets at both places, looked at one by one.
pub struct Inspection {
    columns: Vec<String>,
    is_wanted: Vec<bool>,
    keys: HashMap<u128, Met>,
    bucket_count: usize,
}

/// One key.
#[derive(Default)]
struct Met {
    key: Vec<String>,
    source: Vec<Seen>,
    destination: Vec<Seen>,
}

struct Seen {
    row: u128,
    columns: Box<[u64]>,
}

/// What a row costs beside its columns: both hash tables, and its key as text.
const ROW_OVERHEAD_BYTES: u64 = 256;

impl Inspection {
    /// Of as many of the differing buckets as fit into `bytes_max`, the smallest first. `columns` are those compared.
    pub fn new(columns: Vec<String>, mut differing: Vec<(usize, u64)>, bytes_max: usize) -> Self {
        differing.sort_unstable_by_key(|&(bucket, rows)| (rows, bucket));
        let row_bytes = 2 * (8 * columns.len() as u64 + ROW_OVERHEAD_BYTES);
        let mut room = bytes_max as u64 / row_bytes;
        let mut is_wanted = vec![false; BUCKETS];
        let mut bucket_count = 0;
        for (bucket, rows) in differing {
            match room.checked_sub(rows) {
                Some(left) => room = left,
                None => break,
            }
            is_wanted[bucket] = true;
            bucket_count += 1;
        }
        Inspection {
            columns,
            is_wanted,
            keys: HashMap::new(),
            bucket_count,
        }
    }

    /// How many buckets it looks at.
    pub fn bucket_count(&self) -> usize {
        self.bucket_count
    }

    /// Whether a row with this key is looked at.
    pub fn wants(&self, key: u128) -> bool {
        self.is_wanted[bucket_of(key)]
    }

    /// Takes a row that is wanted. `key` is asked for once for each key, at its first row.
    pub fn take(&mut self, side: Side, row: Fingerprint, columns: Box<[u64]>, key: impl FnOnce() -> Vec<String>) {
        let met = self.keys.entry(row.key).or_default();
        if met.source.is_empty() && met.destination.is_empty() {
            met.key = key();
        }
        let seen = Seen { row: row.row, columns };
        match side {
            Side::Source => met.source.push(seen),
            Side::Destination => met.destination.push(seen),
        }
    }

    /// The rows that differ, in the order of their keys.
    pub fn finish(self) -> Vec<Difference> {
        let mut differences: Vec<Difference> = self
            .keys
            .into_values()
            .filter_map(|met| difference(&self.columns, met))
            .collect();
        differences.sort_by(|a, b| by_key(&a.key, &b.key));
        differences
    }
}

fn difference(columns: &[String], met: Met) -> Option<Difference> {
    let copies = met.destination.len() as u64;
    let kind = match (met.source.as_slice(), met.destination.as_slice()) {
        (_, []) => DifferenceKind::Missing,
        ([], _) => DifferenceKind::Extra,
        (source, destination) if destination.len() > source.len() => DifferenceKind::Doubled,
        ([here], [there]) if here.row == there.row => return None,
        ([_], [_]) => DifferenceKind::Different,
        // A key that the source itself has several times: the rows are told apart by all of their columns.
        (source, destination) => {
            let sorted = |rows: &[Seen]| {
                let mut rows: Vec<u128> = rows.iter().map(|seen| seen.row).collect();
                rows.sort_unstable();
                rows
            };
            if sorted(source) == sorted(destination) {
                return None;
            }
            if destination.len() < source.len() {
                DifferenceKind::Missing
            } else {
                DifferenceKind::Different
            }
        }
    };
    let differs = |at: usize| {
        let here = met.source.first().map(|seen| seen.columns[at]);
        met.destination.iter().any(|there| Some(there.columns[at]) != here)
    };
    let columns = match kind {
        DifferenceKind::Different | DifferenceKind::Doubled => columns
            .iter()
            .enumerate()
            .filter(|(at, _)| differs(*at))
            .map(|(_, name)| name.clone())
            .collect(),
        DifferenceKind::Missing | DifferenceKind::Extra => Vec::new(),
    };
    Some(Difference {
        key: met.key,
        kind,
        columns,
        copies,
    })
}

/// Numbers by value, everything else as text.
fn by_key(a: &[String], b: &[String]) -> Ordering {
    let by_part = |(a, b): (&String, &String)| match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    };
    let mut parts = a.iter().zip(b).map(by_part);
    parts.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
