//! `drop_rows`: rows in which one of the columns has a value.

use arrow::array::{Array, BooleanArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::LogicalType;

use crate::error::Error;
use crate::frame::{Column, Frame};
use crate::json::Document;

const WHAT: &str = "drop rows of";

pub(super) fn drop_rows(
    frame: &mut Frame,
    columns: &[String],
    value: Option<&str>,
    is_strict: bool,
) -> Result<(), Error> {
    let positions = frame.positions(columns, WHAT, is_strict)?;
    let mut is_dropped = vec![false; frame.rows.len()];
    for at in positions {
        let column = &frame.columns[at];
        if column.field.data_type().is_nested() {
            return Err(Error::Type {
                what: WHAT,
                stream: frame.stream.clone(),
                column: column.field.name().clone(),
                data_type: column.type_name(),
                wanted: "a single value",
            });
        }
        if !frame.may_drop {
            continue;
        }
        frame.check_available(column, WHAT)?;
        mark(column, value, &mut is_dropped).map_err(|source| Error::Arrow {
            stream: frame.stream.clone(),
            source,
        })?;
    }
    if !is_dropped.contains(&true) {
        return Ok(());
    }
    let kept: BooleanArray = is_dropped.into_iter().map(|is_dropped| Some(!is_dropped)).collect();
    frame.keep_rows(&kept)
}

fn mark(column: &Column, value: Option<&str>, is_dropped: &mut [bool]) -> Result<(), arrow::error::ArrowError> {
    let values = &column.values;
    let Some(value) = value else {
        for (row, is_dropped) in is_dropped.iter_mut().enumerate() {
            *is_dropped |= values.is_null(row);
        }
        return Ok(());
    };
    let compact = |text: &str| Document::parse(text).map_or_else(|| text.to_owned(), |document| document.render());
    let is_uuid = LogicalType::of(&column.field) == Some(LogicalType::Uuid);
    let is_json = column.is_json();
    let value = match (is_json, is_uuid) {
        (true, _) => compact(value),
        // Bytes are shown without the dashes.
        (_, true) if *column.field.data_type() == DataType::FixedSizeBinary(16) => {
            value.to_lowercase().replace('-', "")
        }
        _ => value.to_owned(),
    };
    let options = FormatOptions::default();
    let texts = ArrayFormatter::try_new(values.as_ref(), &options)?;
    for (row, is_dropped) in is_dropped.iter_mut().enumerate() {
        if *is_dropped || values.is_null(row) {
            continue;
        }
        let text = texts.value(row).try_to_string()?;
        *is_dropped = if is_json {
            compact(&text) == value
        } else {
            text == value
        };
    }
    Ok(())
}
