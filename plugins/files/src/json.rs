//! The encoders that Arrow's JSON writer lacks, so that every value of the vocabulary is written exactly or refused.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};

use crate::text;

/// Encodes what [`crate::text`] has a form for; the rest is Arrow's.
#[derive(Debug)]
pub(crate) struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float32 => {
                let array = array.as_primitive::<Float32Type>();
                Box::new(Floats(move |row| array.value(row)))
            }
            DataType::Float64 => {
                let array = array.as_primitive::<Float64Type>();
                Box::new(Floats(move |row| array.value(row)))
            }
            _ => match text::as_text(field, array)? {
                Some(text) => Box::new(Texts(text)),
                None => return Ok(None),
            },
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// The JSON text of each value of a column.
pub(crate) fn column_as_json(field: &Field, column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Exact));
    let field = Arc::new(field.clone());
    let mut encoder = make_encoder(&field, column.as_ref(), &options)?;
    let mut json = Vec::new();
    text::render(column.as_ref(), |row, text| {
        json.clear();
        encoder.encode(row, &mut json);
        text.push_str(std::str::from_utf8(&json).map_err(|_| std::fmt::Error)?);
        Ok(())
    })
}

struct Texts(StringArray);

impl Encoder for Texts {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(out, self.0.value(row));
    }
}

struct Floats<F>(F);

impl<T, F> Encoder for Floats<F>
where
    T: serde::Serialize + Into<f64> + Copy,
    F: Fn(usize) -> T,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = (self.0)(row);
        let _ = match text::special_float(value.into()) {
            Some(word) => serde_json::to_writer(out, word),
            None => serde_json::to_writer(out, &value),
        };
    }
}
