//! What a transformation names: a column, or a place in a JSON column.

use std::collections::BTreeMap;

use api::SpecError;

use crate::error::Error;
use crate::frame::Frame;
use crate::json::{Path, split_column};

/// A column, or a place in its documents.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) column: String,
    pub(super) path: Option<Path>,
}

pub(super) fn parse(columns: &[String]) -> Result<Vec<Place>, SpecError> {
    let place = |(at, text): (usize, &String)| {
        let refuse = |what: &str| {
            SpecError::at(format!("/columns/{at}"), format!("cannot read `{text}`: {what}"))
                .hint("write a column, or a place in a JSON column: `tags.a.0.b`, with `#` for each element")
        };
        let (column, path) = split_column(text);
        if column.is_empty() {
            return Err(refuse("it names no column"));
        }
        let path = path.map(|path| Path::parse(path).ok_or_else(|| refuse("a part of the path is empty")));
        Ok(Place {
            column,
            path: path.transpose()?,
        })
    };
    columns.iter().enumerate().map(place).collect()
}

/// The places by column: `None` is the whole column, and wins over places in it.
pub(super) fn by_column<'a>(
    frame: &Frame,
    places: &'a [Place],
    what: &'static str,
    is_strict: bool,
) -> Result<BTreeMap<usize, Option<Vec<&'a Path>>>, Error> {
    let mut found: BTreeMap<usize, Option<Vec<&Path>>> = BTreeMap::new();
    for place in places {
        let Some(at) = frame.position(&place.column) else {
            if is_strict {
                return Err(frame.no_column(&place.column, what));
            }
            continue;
        };
        let column = &frame.columns[at];
        match &place.path {
            None => {
                found.insert(at, None);
            }
            Some(_) if !column.is_json() => {
                return Err(Error::Type {
                    what,
                    stream: frame.stream.clone(),
                    column: place.column.clone(),
                    data_type: column.type_name(),
                    wanted: "JSON, which a place in it needs",
                });
            }
            Some(path) => {
                if let Some(paths) = found.entry(at).or_insert_with(|| Some(Vec::new())) {
                    paths.push(path);
                }
            }
        }
    }
    Ok(found)
}
