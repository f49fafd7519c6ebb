//! Random damage, as a broken peer might do it. Also for the messages around the payloads, in the crate that takes them.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// `full` cases with `HIGHWATER_CHAOS=full`, else a tenth of them.
pub fn planned(full: u64) -> u64 {
    let is_full = std::env::var("HIGHWATER_CHAOS").is_ok_and(|level| level == "full");
    if is_full { full } else { full / 10 }
}

/// Another one in each run, unless `HIGHWATER_SEED` says which.
pub fn seed() -> u64 {
    let given = std::env::var("HIGHWATER_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(rand::random)
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
pub fn damage(bytes: &mut Vec<u8>, from: usize, random: &mut ChaCha8Rng) {
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
    ODD.choose(random).copied().unwrap_or_default()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let end = bytes.len().min(at + value.len());
    bytes[at..end].copy_from_slice(&value[..end - at]);
}
