//! Values changed one by one: texts, and places in documents.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericStringArray, OffsetSizeTrait};
use arrow::datatypes::DataType;

use super::place::{Place, by_column};
use super::redaction::Redaction;
use crate::error::Error;
use crate::frame::Frame;
use crate::json::{Document, Path, Segment};

/// Upper or lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
}

impl Case {
    fn of(self, text: &str) -> String {
        match self {
            Case::Upper => text.to_uppercase(),
            Case::Lower => text.to_lowercase(),
        }
    }
}

/// What is done at a place in a document.
pub(super) enum Edit<'a> {
    Remove,
    Obfuscate(&'a Redaction),
    /// Of a text; whatever else is there stays.
    Case(Case),
}

pub(super) fn change_case(frame: &mut Frame, places: &[Place], case: Case, is_strict: bool) -> Result<(), Error> {
    let what = "change the case of";
    for (at, paths) in by_column(frame, places, what, is_strict)? {
        let column = &frame.columns[at];
        let values = match paths {
            Some(paths) => edit_documents(&column.values, &paths, &Edit::Case(case)),
            None if column.is_text() => map_texts(&column.values, |text| case.of(text)),
            None if column.is_json() => map_texts(&column.values, |text| {
                let Some(mut document) = Document::parse(text) else {
                    return text.to_owned();
                };
                change_all(&mut document, case);
                document.render()
            }),
            None => {
                return Err(Error::Type {
                    what,
                    stream: frame.stream.clone(),
                    column: column.field.name().clone(),
                    data_type: column.type_name(),
                    wanted: "text or JSON",
                });
            }
        };
        frame.columns[at].values = values;
    }
    Ok(())
}

/// The texts of a document; not its names, by which others find them.
fn change_all(document: &mut Document, case: Case) {
    match document {
        Document::Array(elements) => elements.iter_mut().for_each(|element| change_all(element, case)),
        Document::Object(members) => members
            .iter_mut()
            .for_each(|member| change_all(&mut member.value, case)),
        Document::Leaf(_) => {
            if let Some(text) = document.as_text() {
                *document = Document::text(&case.of(&text));
            }
        }
    }
}

/// Nulls stay.
pub(super) fn map_texts(values: &ArrayRef, map: impl Fn(&str) -> String) -> ArrayRef {
    fn mapped<O: OffsetSizeTrait>(values: &ArrayRef, map: impl Fn(&str) -> String) -> ArrayRef {
        let values = values.as_string::<O>();
        Arc::new(
            values
                .iter()
                .map(|value| value.map(&map))
                .collect::<GenericStringArray<O>>(),
        )
    }
    match values.data_type() {
        DataType::LargeUtf8 => mapped::<i64>(values, map),
        _ => mapped::<i32>(values, map),
    }
}

/// Changes documents at places. A document that has none of them stays as it is; a text that is no document is hidden whole
/// where something of it should have been.
pub(super) fn edit_documents(values: &ArrayRef, paths: &[&Path], edit: &Edit<'_>) -> ArrayRef {
    map_texts(values, |text| {
        let Some(mut document) = Document::parse(text) else {
            return match edit {
                Edit::Case(_) => text.to_owned(),
                Edit::Obfuscate(redaction) => redaction.document(text).render(),
                Edit::Remove => "null".to_owned(),
            };
        };
        let mut is_changed = false;
        for path in paths {
            is_changed |= edit_at(&mut document, path.segments(), edit);
        }
        match is_changed {
            true => document.render(),
            false => text.to_owned(),
        }
    })
}

/// Whether something was there.
fn edit_at(document: &mut Document, path: &[Segment], edit: &Edit<'_>) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return change(document, edit);
    };
    let is_last = rest.is_empty();
    match (document, first) {
        (Document::Array(elements), Segment::Each) => {
            if is_last && matches!(edit, Edit::Remove) {
                let had_some = !elements.is_empty();
                elements.clear();
                return had_some;
            }
            let mut is_changed = false;
            for element in elements {
                is_changed |= edit_at(element, rest, edit);
            }
            is_changed
        }
        (Document::Array(elements), Segment::Name(name)) => {
            let Some(at) = name.parse().ok().filter(|at: &usize| *at < elements.len()) else {
                return false;
            };
            if is_last && matches!(edit, Edit::Remove) {
                elements.remove(at);
                return true;
            }
            edit_at(&mut elements[at], rest, edit)
        }
        (Document::Object(members), Segment::Name(name)) => {
            if is_last && matches!(edit, Edit::Remove) {
                let before = members.len();
                members.retain(|member| member.name != *name);
                return members.len() < before;
            }
            let mut is_changed = false;
            // A name that comes twice is one that a reader may take either of.
            for member in members.iter_mut().filter(|member| member.name == *name) {
                is_changed |= edit_at(&mut member.value, rest, edit);
            }
            is_changed
        }
        (Document::Leaf(_), _) | (Document::Object(_), Segment::Each) => false,
    }
}

fn change(document: &mut Document, edit: &Edit<'_>) -> bool {
    match edit {
        // Taken away by whoever holds it.
        Edit::Remove => false,
        Edit::Obfuscate(_) if document.is_null() => false,
        Edit::Obfuscate(redaction) => {
            *document = redaction.value(document);
            true
        }
        Edit::Case(case) => match document.as_text() {
            Some(text) => {
                *document = Document::text(&case.of(&text));
                true
            }
            None => false,
        },
    }
}
