//! `obfuscate_columns_except`: only what is named goes on as it is.

use super::columns::leave_out;
use super::place::Place;
use super::redaction::Redaction;
use super::spec::Unmatched;
use super::texts::map_texts;
use crate::error::Error;
use crate::frame::{Column, Frame};
use crate::json::{Document, Path, Segment};

const WHAT: &str = "obfuscate columns of";
/// Columns of the protocol, not of the source.
const INTERNAL: &str = "_cq_";

pub(super) struct Keep {
    places: Vec<Place>,
    unmatched: Unmatched,
    redaction: Redaction,
}

impl Keep {
    pub(super) fn new(places: Vec<Place>, unmatched: Unmatched, redaction: Redaction) -> Keep {
        Keep {
            places,
            unmatched,
            redaction,
        }
    }

    /// A name that is not there is an error for every stream: what was to be kept would be hidden in silence.
    pub(super) fn apply(&self, frame: &mut Frame) -> Result<(), Error> {
        let named: Vec<String> = self.places.iter().map(|place| place.column.clone()).collect();
        frame.positions(&named, WHAT, true)?;
        let mut gone = Vec::new();
        for at in 0..frame.columns.len() {
            let column = &frame.columns[at];
            let name = column.field.name();
            let mut of_it = self.places.iter().filter(|place| place.column == *name).peekable();
            if name.starts_with(INTERNAL) || of_it.clone().any(|place| place.path.is_none()) {
                continue;
            }
            let values = if of_it.peek().is_some() {
                if !column.is_json() {
                    return Err(Error::Type {
                        what: WHAT,
                        stream: frame.stream.clone(),
                        column: name.clone(),
                        data_type: column.type_name(),
                        wanted: "JSON, which a place in it needs",
                    });
                }
                let paths: Vec<&[Segment]> = of_it
                    .filter_map(|place| place.path.as_ref())
                    .map(Path::segments)
                    .collect();
                Some(self.documents(column, &paths))
            } else {
                let would_not_tell = self.unmatched == Unmatched::Drop || !self.redaction.include_sha;
                if frame.is_key(name) && would_not_tell {
                    return Err(Error::KeyLost {
                        what: WHAT,
                        stream: frame.stream.clone(),
                        column: name.clone(),
                    });
                }
                match self.unmatched {
                    Unmatched::Drop => None,
                    Unmatched::Redact if column.is_json() => Some(self.documents(column, &[])),
                    Unmatched::Redact | Unmatched::Collapse => self.redaction.column(column),
                }
            };
            match values {
                Some(values) => frame.columns[at].values = values,
                None => gone.push(at),
            }
        }
        leave_out(frame, &gone, WHAT)
    }

    fn documents(&self, column: &Column, paths: &[&[Segment]]) -> arrow::array::ArrayRef {
        map_texts(&column.values, |text| {
            let document = Document::parse(text);
            let kept = document.map(|document| self.keep(document, paths));
            match kept {
                Some(Some(document)) => document.render(),
                // Nothing of it is named.
                Some(None) => "null".to_owned(),
                None => self.redaction.document(text).render(),
            }
        })
    }

    /// What stays of a value, by what is left of the paths that lead to it; `None` if nothing does.
    fn keep(&self, document: Document, paths: &[&[Segment]]) -> Option<Document> {
        if paths.iter().any(|path| path.is_empty()) {
            return Some(document);
        }
        match document {
            document if paths.is_empty() && self.unmatched != Unmatched::Redact => self.hidden(document),
            Document::Leaf(_) => self.hidden(document),
            Document::Array(elements) => {
                let below = |at: usize| -> Vec<&[Segment]> {
                    let leads = |segment: &Segment| match segment {
                        Segment::Each => true,
                        Segment::Name(name) => name.parse() == Ok(at),
                    };
                    paths
                        .iter()
                        .filter(|path| leads(&path[0]))
                        .map(|path| &path[1..])
                        .collect()
                };
                let elements = elements.into_iter().enumerate();
                Some(Document::Array(
                    elements
                        .filter_map(|(at, element)| self.keep(element, &below(at)))
                        .collect(),
                ))
            }
            Document::Object(members) => {
                let below = |name: &str| -> Vec<&[Segment]> {
                    let leads = |segment: &Segment| matches!(segment, Segment::Name(wanted) if wanted == name);
                    paths
                        .iter()
                        .filter(|path| leads(&path[0]))
                        .map(|path| &path[1..])
                        .collect()
                };
                let kept = members.into_iter().filter_map(|mut member| {
                    let value = std::mem::replace(&mut member.value, Document::Array(Vec::new()));
                    member.value = self.keep(value, &below(&member.name))?;
                    Some(member)
                });
                Some(Document::Object(kept.collect()))
            }
        }
    }

    /// A value that is not to be seen.
    fn hidden(&self, document: Document) -> Option<Document> {
        match self.unmatched {
            Unmatched::Drop => None,
            _ if document.is_null() => Some(document),
            _ => Some(self.redaction.value(&document)),
        }
    }
}
