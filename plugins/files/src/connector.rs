//! How the connectors hand themselves over.

use std::time::Duration;

use api::{
    BatchDefaults, BuildContext, Capabilities, Deletes, Destination, DestinationConnector, DestinationOptions,
    SpecError, WriteMode,
};

use crate::destination::{BUFFER_BYTES, Files, Settings, capabilities};
use crate::format::Format;
use crate::size::parse_size;
use crate::spec::{CsvSpec, NdjsonSpec, ParquetSpec};
use crate::template::Template;

/// The connector `parquet`.
pub struct Parquet;

/// The connector `csv`.
pub struct Csv;

/// The connector `ndjson`.
pub struct Ndjson;

impl DestinationConnector for Parquet {
    const NAME: &'static str = "parquet";
    const ABOUT: &'static str = "Parquet files in a local directory: every change as a row, whole commits.";
    type Spec = ParquetSpec;

    fn build(
        spec: ParquetSpec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        let row_group_bytes = size("/row_group_bytes", &spec.row_group_bytes, 64 << 10, 256 << 20)? as usize;
        let format = Format::Parquet {
            compression: spec.compression,
            row_group_bytes,
        };
        let budget_bytes = BUFFER_BYTES.max(2 * row_group_bytes);
        build(
            "parquet",
            &spec.path,
            &spec.file_bytes_max,
            format,
            budget_bytes,
            options,
            cx,
        )
    }

    fn capabilities() -> Capabilities {
        capabilities(BUFFER_BYTES)
    }

    fn batch() -> BatchDefaults {
        batch()
    }
}

impl DestinationConnector for Csv {
    const NAME: &'static str = "csv";
    const ABOUT: &'static str = "CSV files in a local directory: every change as a line, whole commits.";
    type Spec = CsvSpec;

    fn build(spec: CsvSpec, options: DestinationOptions, cx: &BuildContext) -> Result<Box<dyn Destination>, SpecError> {
        let delimiter = match spec.delimiter.as_bytes() {
            [one] if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r' | 0) => *one,
            _ => {
                let message = format!(
                    "`delimiter` is `{}`: expected one ASCII character",
                    spec.delimiter.escape_debug()
                );
                return Err(SpecError::at("/delimiter", message).hint("use `,`, `;`, `|` or `\"\\t\"`"));
            }
        };
        let is_special = |c: char| c == delimiter as char || matches!(c, '"' | '\n' | '\r');
        let is_value = ["true", "false", "NaN", "Infinity", "-Infinity"].contains(&spec.null.as_str());
        if spec.null.contains(is_special) || is_value || spec.null.parse::<f64>().is_ok() {
            let message = format!("`null` is `{}`, which could be a value", spec.null.escape_debug());
            return Err(SpecError::at("/null", message).hint("use `\\N` or another word that is no value"));
        }
        let format = Format::Csv {
            delimiter,
            header: spec.header,
            null: spec.null,
        };
        build(
            "csv",
            &spec.path,
            &spec.file_bytes_max,
            format,
            BUFFER_BYTES,
            options,
            cx,
        )
    }

    fn capabilities() -> Capabilities {
        capabilities(BUFFER_BYTES)
    }

    fn batch() -> BatchDefaults {
        batch()
    }
}

impl DestinationConnector for Ndjson {
    const NAME: &'static str = "ndjson";
    const ABOUT: &'static str = "Files of JSON lines in a local directory: every change as an object, whole commits.";
    type Spec = NdjsonSpec;

    fn build(
        spec: NdjsonSpec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        build(
            "ndjson",
            &spec.path,
            &spec.file_bytes_max,
            Format::Ndjson,
            BUFFER_BYTES,
            options,
            cx,
        )
    }

    fn capabilities() -> Capabilities {
        capabilities(BUFFER_BYTES)
    }

    fn batch() -> BatchDefaults {
        batch()
    }
}

/// Files are worth reading when they are large; a minute is what people wait for them.
fn batch() -> BatchDefaults {
    BatchDefaults {
        bytes_max: 128 << 20,
        rows_max: 10_000_000,
        wait_max: Duration::from_secs(60),
    }
}

fn build(
    connector: &str,
    path: &str,
    file_bytes_max: &str,
    format: Format,
    budget_bytes: usize,
    options: DestinationOptions,
    cx: &BuildContext,
) -> Result<Box<dyn Destination>, SpecError> {
    if let Some(write) = options.write.filter(|write| *write != WriteMode::Append) {
        let message = format!("connector `{connector}` cannot {}", write.name());
        return Err(SpecError::at("", message).hint("use `write: append`"));
    }
    if options.deletes == Deletes::Soft {
        let message = format!("connector `{connector}` appends, so there is no row that `deletes: soft` could mark");
        return Err(SpecError::at("", message)
            .hint("use `deletes: apply`: a delete is then a row with `_highwater_op` = `delete`"));
    }
    let (root, template) =
        Template::parse(path).map_err(|error| SpecError::at("/path", error.message).hint(error.hint))?;
    let settings = Settings {
        // Without the `.` of `./out`, since this path is in every message.
        root: cx.path(root).components().collect(),
        template,
        format,
        budget_bytes,
        file_bytes_max: size("/file_bytes_max", file_bytes_max, 64 << 10, 1 << 40)?,
        on_schema_change: options.on_schema_change,
        skips_deletes: options.deletes == Deletes::Ignore,
    };
    Ok(Box::new(Files::new(settings)))
}

fn size(pointer: &str, text: &str, min: u64, max: u64) -> Result<u64, SpecError> {
    let field = pointer.trim_start_matches('/');
    match parse_size(text) {
        Some(size) if (min..=max).contains(&size) => Ok(size),
        Some(_) => {
            let (min, max) = (min >> 10, max >> 20);
            let message = format!("`{field}` is `{text}`: expected {min}KiB to {max}MiB");
            Err(SpecError::at(pointer, message))
        }
        None => {
            let message = format!("`{field}` is `{text}`: expected a number and a unit, such as `64MiB`");
            Err(SpecError::at(pointer, message))
        }
    }
}
