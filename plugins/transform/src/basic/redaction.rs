//! What stands in the place of a value that is not to be seen.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericBinaryArray, OffsetSizeTrait};
use arrow::datatypes::DataType;
use model::SENSITIVE;
use sha2::{Digest, Sha256};

use super::place::{Place, by_column};
use super::texts::{Edit, edit_documents, map_texts};
use crate::error::Error;
use crate::frame::{Column, Frame};
use crate::json::Document;

const OBFUSCATE: &str = "obfuscate columns of";

/// The marker, and whether values can still be told apart.
pub(super) struct Redaction {
    marker: String,
    /// The member that stands for a whole document.
    member: String,
    pub(super) include_sha: bool,
}

impl Redaction {
    pub(super) fn new(marker: &str, include_sha: bool) -> Redaction {
        let small = |c: char| {
            if c.is_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        };
        Redaction {
            marker: marker.to_owned(),
            member: marker.chars().map(small).collect(),
            include_sha,
        }
    }

    /// For bytes or text.
    pub(super) fn text(&self, value: &[u8]) -> String {
        match self.include_sha {
            true => format!("{} | {}", self.marker, sha(value)),
            false => self.marker.clone(),
        }
    }

    /// For a value inside a document: of its text as it stands there, quotes included.
    pub(super) fn value(&self, value: &Document) -> Document {
        Document::text(&self.text(value.render().as_bytes()))
    }

    /// For a whole document.
    pub(super) fn document(&self, text: &str) -> Document {
        let value = match self.include_sha {
            true => sha(text.as_bytes()),
            false => self.marker.clone(),
        };
        Document::from((self.member.as_str(), Document::text(&value)))
    }

    /// The column without its values; `None` if its type has no place for the marker.
    pub(super) fn column(&self, column: &Column) -> Option<ArrayRef> {
        if column.is_text() {
            Some(map_texts(&column.values, |text| self.text(text.as_bytes())))
        } else if column.is_json() {
            Some(map_texts(&column.values, |text| self.document(text).render()))
        } else if column.is_binary() {
            Some(match column.values.data_type() {
                DataType::LargeBinary => self.binary::<i64>(&column.values),
                _ => self.binary::<i32>(&column.values),
            })
        } else {
            None
        }
    }

    fn binary<O: OffsetSizeTrait>(&self, values: &ArrayRef) -> ArrayRef {
        let values = values.as_binary::<O>().iter();
        Arc::new(
            values
                .map(|value| value.map(|bytes| self.text(bytes)))
                .collect::<GenericBinaryArray<O>>(),
        )
    }
}

/// SHA-256 in hexadecimal.
fn sha(value: &[u8]) -> String {
    Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn obfuscate(
    frame: &mut Frame,
    places: &[Place],
    redaction: &Redaction,
    is_strict: bool,
) -> Result<(), Error> {
    for (at, paths) in by_column(frame, places, OBFUSCATE, is_strict)? {
        match paths {
            Some(paths) => {
                let column = &mut frame.columns[at];
                column.values = edit_documents(&column.values, &paths, &Edit::Obfuscate(redaction));
            }
            None => whole(frame, at, redaction)?,
        }
    }
    Ok(())
}

pub(super) fn obfuscate_sensitive(frame: &mut Frame, redaction: &Redaction) -> Result<(), Error> {
    let is_marked = |column: &Column| {
        column
            .field
            .metadata()
            .get(SENSITIVE)
            .is_some_and(|value| value == "true")
    };
    let marked: Vec<usize> = (0..frame.columns.len())
        .filter(|&at| is_marked(&frame.columns[at]))
        .collect();
    marked.into_iter().try_for_each(|at| whole(frame, at, redaction))
}

fn whole(frame: &mut Frame, at: usize, redaction: &Redaction) -> Result<(), Error> {
    let column = &frame.columns[at];
    let name = column.field.name();
    if frame.is_key(name) && !redaction.include_sha {
        return Err(Error::KeyLost {
            what: OBFUSCATE,
            stream: frame.stream.clone(),
            column: name.clone(),
        });
    }
    let values = redaction.column(column).ok_or_else(|| Error::Type {
        what: OBFUSCATE,
        stream: frame.stream.clone(),
        column: name.clone(),
        data_type: column.type_name(),
        wanted: "text, binary or JSON",
    })?;
    frame.columns[at].values = values;
    Ok(())
}
