//! Reading the directory as a stranger would: with the formats' own readers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use api::conformance::{Row, rows_of};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// Every data file below `root`, as `**/*.parquet` (or `.csv`, `.ndjson`) would find it.
pub(crate) fn data_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if ["parquet", "csv", "ndjson"]
                .iter()
                .any(|e| path.extension().is_some_and(|x| x == *e))
            {
                found.push(path);
            }
        }
    }
    // Names end in what orders them: history, manifest number, sequence.
    found.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    found
}

/// The rows of one file; a torn file panics.
pub(crate) fn read_file(path: &Path) -> Vec<Row> {
    match path.to_string_lossy() {
        name if name.contains(".parquet") => read_parquet(path),
        name if name.contains(".csv") => read_csv(path),
        _ => read_ndjson(path),
    }
}

fn read_parquet(path: &Path) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let reader = reader.build().unwrap();
    reader.flat_map(|batch| rows_of(&batch.unwrap())).collect()
}

fn read_csv(path: &Path) -> Vec<Row> {
    let names = csv_names(path);
    let fields: Vec<_> = names
        .iter()
        .map(|name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true))
        .collect();
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    let reader = arrow::csv::ReaderBuilder::new(schema).with_header(true);
    let reader = reader.build(File::open(path).unwrap()).unwrap();
    let rows = reader.flat_map(|batch| rows_of(&batch.unwrap()));
    // The reader takes an empty field for null; what stands for null here is `\N`.
    let value = |value: Option<String>| match value {
        Some(text) if text == "\\N" => None,
        None => Some(String::new()),
        text => text,
    };
    rows.map(|row| row.into_iter().map(|(name, text)| (name, value(text))).collect())
        .collect()
}

fn csv_names(path: &Path) -> Vec<String> {
    let (schema, _) = arrow::csv::reader::Format::default()
        .with_header(true)
        .infer_schema(File::open(path).unwrap(), Some(1))
        .unwrap();
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn read_ndjson(path: &Path) -> Vec<Row> {
    let lines = BufReader::new(File::open(path).unwrap()).lines();
    lines
        .map(|line| {
            let row: BTreeMap<String, Value> = serde_json::from_str(&line.unwrap()).unwrap();
            row.into_iter().map(|(name, value)| (name, text(value))).collect()
        })
        .collect()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
