//! Where everything lies below the root, and what it is called.
//!
//! ```text
//! <root>/
//!   public.orders/date=2026-11-25/
//!     7c9e6679-00000042-0001.parquet       data, published: <history>-<manifest number>-<sequence>
//!   _highwater/
//!     shop.lake/                           one ledger for each lane: <pipeline>.<destination>
//!       lock                               held (flock) by the open destination; names its owner
//!       00000042.json                      manifest 42: creating it is the commit
//!       compacted/00000001-00000032.jsonl  manifests 1 to 32 with files, one a line, without their checkpoints
//!       schemas/<schema id>.json           columns of a schema, immutable
//!       staged/                            what is not published yet
//! ```
//!
//! Keys are paths relative to the root with `/` between segments, the same in manifests and in the store.

use api::Lane;

use crate::template::{encode, finish_segment};

/// The directory of all ledgers.
pub(crate) const LEDGERS: &str = "_highwater";

/// The keys of one lane's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    ledger: String,
}

impl Layout {
    pub(crate) fn of(lane: &Lane) -> Self {
        let mut name = format!(
            "{}.{}",
            encode(lane.pipeline.as_str()),
            encode(lane.destination.as_str())
        );
        if lane.lane > 0 {
            name.push_str(&format!(".{}", lane.lane));
        }
        Layout::named(&finish_segment(name, false))
    }

    /// The ledger in a directory of this name below [`LEDGERS`].
    pub(crate) fn named(name: &str) -> Self {
        Layout {
            ledger: format!("{LEDGERS}/{name}"),
        }
    }

    /// The ledger's own directory.
    pub(crate) fn ledger(&self) -> &str {
        &self.ledger
    }

    /// Data files that are not published, and what is on its way to be created.
    pub(crate) fn staged(&self) -> String {
        format!("{}/staged", self.ledger)
    }

    /// Column lists.
    pub(crate) fn schemas(&self) -> String {
        format!("{}/schemas", self.ledger)
    }

    /// Folded manifests.
    pub(crate) fn compacted(&self) -> String {
        format!("{}/compacted", self.ledger)
    }

    /// A staged file. Ends in something that no `*.parquet` matches, wherever a reader's `**` leads.
    pub(crate) fn staged_key(&self, name: &str) -> String {
        format!("{}/staged/{name}.staged", self.ledger)
    }

    /// The manifest of a number.
    pub(crate) fn manifest_key(&self, number: u64) -> String {
        format!("{}/{number:08}.json", self.ledger)
    }

    /// The folded manifests of `from..=to`.
    pub(crate) fn segment_key(&self, from: u64, to: u64) -> String {
        format!("{}/compacted/{from:08}-{to:08}.jsonl", self.ledger)
    }

    /// The columns of a schema.
    pub(crate) fn schema_key(&self, id: model::SchemaId) -> String {
        format!("{}/schemas/{id}.json", self.ledger)
    }
}

/// The session lock's name in a ledger.
pub(crate) const LOCK: &str = "lock";

/// A data file's name: used once, for ever.
pub(crate) fn file_name(history: &str, number: u64, sequence: u32, extension: &str) -> String {
    format!("{history}-{number:08}-{sequence:04}.{extension}")
}

/// The number of a manifest's name.
pub(crate) fn manifest_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let is_number = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// First and last number of a segment's name.
pub(crate) fn segment_range(name: &str) -> Option<(u64, u64)> {
    let (from, to) = name.strip_suffix(".jsonl")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// The directory of a key; empty for the root.
pub(crate) fn directory_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    use api::conformance::sample;

    use super::*;

    #[test]
    fn names_read_back() {
        assert_eq!(manifest_number("00000042.json"), Some(42));
        assert_eq!(manifest_number("123456789.json"), Some(123_456_789));
        for other in ["lock", "42.json", "-0000042.json", "00000042.json.tmp", "+0000042.json"] {
            assert_eq!(manifest_number(other), None, "{other}");
        }
        let layout = Layout::of(&sample::lane());
        assert_eq!(layout.manifest_key(7), "_highwater/shop.copy/00000007.json");
        let key = layout.segment_key(1, 32);
        let name = key.strip_prefix("_highwater/shop.copy/compacted/");
        assert_eq!(name.and_then(segment_range), Some((1, 32)));
        assert_eq!(directory_of("a/b/c.parquet"), "a/b");
    }

    #[test]
    fn lanes_have_ledgers_of_their_own() {
        let of = |pipeline: &str, destination: &str, lane| {
            let lane = Lane {
                pipeline: pipeline.into(),
                destination: destination.into(),
                lane,
                ..sample::lane()
            };
            Layout::of(&lane).ledger
        };
        assert_eq!(of("shop", "lake", 0), "_highwater/shop.lake");
        assert_eq!(of("shop", "lake", 3), "_highwater/shop.lake.3");
        assert_ne!(of("a.b", "c", 0), of("a", "b.c", 0));
        assert_eq!(of("../x", "..", 0), "_highwater/%2E%2E%2Fx.%2E%2E");
    }
}
