//! Every promise of the role, by every format.

use std::path::PathBuf;
use std::sync::Arc;

use api::conformance::{DestinationHarness, HarnessError, Row, text_of};
use api::{Destination, DestinationOptions, SpecError};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};
use async_trait::async_trait;
use highwater_plugin_files::read_manifests;
use model::{LogicalType, StreamSchema};
use serde_json::{Value, json};

use crate::reading::{data_files, read_file};
use crate::setup::{appending, build};

struct Harness {
    connector: &'static str,
    base: tempfile::TempDir,
}

impl Harness {
    fn new(connector: &'static str) -> Self {
        Harness {
            connector,
            base: tempfile::tempdir().unwrap(),
        }
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("out")
    }

    /// The files of a stream, as the plain reader finds them; each must be one that a manifest lists.
    fn files_of(&self, stream: &str) -> Vec<PathBuf> {
        let root = self.root();
        let manifests = read_manifests(&root).unwrap_or_default();
        let listed: Vec<_> = manifests.iter().flat_map(|manifest| &manifest.files).collect();
        let mine = |path: &PathBuf| {
            let key = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            match listed.iter().find(|file| file.path == key) {
                Some(file) => file.stream.to_string() == stream,
                // Of a lane that was forgotten.
                None => key.split('/').next() == Some(stream),
            }
        };
        data_files(&root).into_iter().filter(mine).collect()
    }
}

#[async_trait]
impl DestinationHarness for Harness {
    fn build(&self, options: DestinationOptions) -> Result<Box<dyn Destination>, SpecError> {
        build(self.connector, json!({}), options, self.base.path())
    }

    fn options(&self) -> DestinationOptions {
        appending()
    }

    /// What was appended since the stream was last emptied.
    async fn rows(&self, schema: &StreamSchema) -> Result<Option<Vec<Row>>, HarnessError> {
        let files = self.files_of(&schema.stream().to_string());
        let mut rows: Vec<Row> = Vec::new();
        for mut row in files.iter().flat_map(|path| read_file(path)) {
            match row["_highwater_op"].as_deref() {
                Some("truncate") => rows.clear(),
                Some("begin_read") => {}
                _ => {
                    for field in schema.arrow().fields() {
                        let value = row.entry(field.name().clone()).or_default();
                        *value = value.take().map(|text| normal(field, text));
                    }
                    rows.push(row);
                }
            }
        }
        Ok((!files.is_empty()).then_some(rows))
    }

    fn shows(&self, field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
        let plain = text_of(column.as_ref(), row)?;
        Some(match column.data_type() {
            DataType::Interval(unit) => interval(column, *unit, row),
            nested if nested.is_nested() => match self.connector {
                "parquet" => plain,
                _ => json_of(field, column, row),
            },
            _ => normal(field, plain),
        })
    }
}

/// Texts that mean the same value made the same.
fn normal(field: &Field, text: String) -> String {
    match field.data_type() {
        DataType::FixedSizeBinary(16) if LogicalType::of(field) == Some(LogicalType::Uuid) => text.replace('-', ""),
        DataType::Float32 => format!("{:?}", text.parse::<f32>().unwrap()),
        DataType::Float64 => format!("{:?}", text.parse::<f64>().unwrap()),
        DataType::Interval(_) => parse_interval(&text),
        // One text for each instant, whatever the zone that it was written with.
        DataType::Timestamp(unit, Some(_)) => {
            let time: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![text]));
            let in_utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            text_of(&arrow::compute::cast(&time, &in_utc).unwrap(), 0).unwrap()
        }
        _ => text,
    }
}

/// `months/days/nanoseconds` of ISO 8601 text, or of a text that is that already.
fn parse_interval(text: &str) -> String {
    let Some(rest) = text.strip_prefix('P') else {
        return text.to_owned();
    };
    let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
    let (mut months, mut days, mut nanoseconds) = (0_i64, 0_i64, 0_i128);
    for (number, unit) in designated(date) {
        match unit {
            'Y' => months += 12 * number.parse::<i64>().unwrap(),
            'M' => months += number.parse::<i64>().unwrap(),
            'D' => days += number.parse::<i64>().unwrap(),
            other => panic!("`{other}` in `{text}`"),
        }
    }
    for (number, unit) in designated(time) {
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
        let sign = if number.starts_with('-') { -1 } else { 1 };
        let fraction: i128 = format!("{fraction:0<9}").parse().unwrap();
        let value = whole.parse::<i128>().unwrap() * 1_000_000_000 + sign * fraction;
        nanoseconds += value
            * match unit {
                'H' => 3_600,
                'M' => 60,
                'S' => 1,
                other => panic!("`{other}` in `{text}`"),
            };
    }
    format!("{months}/{days}/{nanoseconds}")
}

fn designated(text: &str) -> Vec<(String, char)> {
    let mut found = Vec::new();
    let mut number = String::new();
    for c in text.chars() {
        match c.is_ascii_alphabetic() {
            true => found.push((std::mem::take(&mut number), c)),
            false => number.push(c),
        }
    }
    found
}

fn interval(column: &ArrayRef, unit: IntervalUnit, row: usize) -> String {
    match unit {
        IntervalUnit::YearMonth => format!("{}/0/0", column.as_primitive::<IntervalYearMonthType>().value(row)),
        IntervalUnit::DayTime => {
            let value = column.as_primitive::<IntervalDayTimeType>().value(row);
            format!("0/{}/{}", value.days, i64::from(value.milliseconds) * 1_000_000)
        }
        IntervalUnit::MonthDayNano => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            format!("{}/{}/{}", value.months, value.days, value.nanoseconds)
        }
    }
}

/// A nested value as Arrow's own writer has it.
fn json_of(field: &Field, column: &ArrayRef, row: usize) -> String {
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field.clone()]));
    let batch = RecordBatch::try_new(schema, vec![column.slice(row, 1)]).unwrap();
    let mut json = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(&mut json);
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let value: Value = serde_json::from_slice(&json).unwrap();
    value[field.name()].to_string()
}

mod parquet {
    api::destination_conformance!(super::Harness::new("parquet"));
}

mod csv {
    api::destination_conformance!(super::Harness::new("csv"));
}

mod ndjson {
    api::destination_conformance!(super::Harness::new("ndjson"));
}
