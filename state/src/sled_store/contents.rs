use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use model::{DestinationId, PipelineId};
use serde::Serialize;

use super::opening::{decode_all, open_database};
use super::record::{Key, Value, kept_as_text};
use super::{database, directory, journal, recovery};
use crate::{Notice, StateError, Stored};

/// Everything in a state directory.
///
/// As JSON: `{"format": "highwater-state", "version": 1, "pipelines": {name: {"destinations": {name: {...}}, "kept": {name:
/// base64}}}}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contents {
    /// Always `highwater-state`.
    pub format: &'static str,
    /// The version of this form; grows when a reader of the old one would misread the new one.
    pub version: u32,
    /// Each pipeline of which anything is stored.
    pub pipelines: BTreeMap<PipelineId, PipelineContents>,
}

/// Everything of one pipeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PipelineContents {
    /// What is stored for each destination.
    pub destinations: BTreeMap<DestinationId, Stored>,
    /// What the source keeps.
    #[serde(serialize_with = "as_text")]
    pub kept: BTreeMap<String, Bytes>,
}

fn as_text<S: serde::Serializer>(kept: &BTreeMap<String, Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    kept_as_text(kept).serialize(serializer)
}

impl Contents {
    pub(super) fn to_json(&self) -> Result<serde_json::Value, StateError> {
        serde_json::to_value(self).map_err(|source| StateError::Encode {
            whose: "every pipeline".to_owned(),
            source: source.into(),
        })
    }
}

/// Sled writes when it opens, so a copy is opened.
pub(super) fn read(dir: &Path) -> Result<(Contents, Vec<Notice>), StateError> {
    if !dir.join("FORMAT").exists() && !dir.join("journal").exists() {
        return Err(StateError::Missing { dir: dir.to_owned() });
    }
    let _lock = directory::Lock::take(dir)?;
    let is_old = directory::read_format(dir)?;
    let journal = journal::read(dir)?;
    let copy = tempfile::Builder::new().prefix("highwater-state-").tempdir();
    let copy = copy.map_err(|error| directory::cannot(dir, "make a copy in", &std::env::temp_dir(), error))?;
    database::copy(dir, copy.path()).map_err(|error| directory::cannot(dir, "copy", &dir.join("sled"), error))?;
    let (_database, in_database, mut notices) = open_database(copy.path(), is_old, false)?;
    let recovered = recovery::merge(journal, in_database, is_old);
    notices.extend(recovered.notices);

    let mut pipelines: BTreeMap<PipelineId, PipelineContents> = BTreeMap::new();
    for (key, held) in decode_all(recovered.values)? {
        let pipeline = pipelines.entry(key.pipeline().clone()).or_default();
        match (key, held.value) {
            (Key::Destination(_, destination), Value::Destination(stored)) => {
                pipeline.destinations.insert(destination, *stored);
            }
            (_, Value::Kept(kept)) => pipeline.kept = kept,
            (Key::Kept(_), Value::Destination(_)) => {}
        }
    }
    let contents = Contents {
        format: "highwater-state",
        version: 1,
        pipelines,
    };
    Ok((contents, notices))
}
