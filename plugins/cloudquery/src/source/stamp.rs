//! The columns that a runtime adds to every row: when its sync began, and which source it is of.

use std::sync::Arc;

use api::PlannedStream;
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::error::ArrowError;
use model::{StreamSchema, Timestamp};
use proto::ConvertError;

/// When the sync of a row began; the column by which a stream is known to come from a plugin.
pub(crate) const SYNC_TIME: &str = "_cq_sync_time";
const SOURCE_NAME: &str = "_cq_source_name";

/// In the metadata of `_cq_source_name`: the name itself, so that a table without rows tells it, too.
pub(crate) const SOURCE: &str = "cloudquery.source";

fn added(source: &str) -> [Field; 2] {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    [
        Field::new(SYNC_TIME, utc, true),
        Field::new(SOURCE_NAME, DataType::Utf8, true).with_metadata([(SOURCE.to_owned(), source.to_owned())].into()),
    ]
}

/// A table's schema with the added columns in front, as the plan wants it. A column that the plugin has is kept.
pub(super) fn stamped(
    table: &StreamSchema,
    planned: Option<&PlannedStream>,
    source: &str,
) -> Result<Arc<StreamSchema>, ConvertError> {
    let own = table.arrow().fields();
    let is_new = |field: &Field| own.find(field.name()).is_none();
    let is_wanted = |field: &Field| planned.is_none_or(|planned| !planned.exclude.contains(field.name()));
    let fields = added(source)
        .into_iter()
        .filter(is_new)
        .chain(own.iter().map(|field| Field::clone(field)))
        .filter(is_wanted)
        .collect();
    let of_plugin = || table.key_names().map(str::to_owned).collect();
    let key: Vec<String> = planned
        .and_then(|planned| planned.key.clone())
        .unwrap_or_else(of_plugin);
    Ok(Arc::new(StreamSchema::new(table.stream().clone(), fields, key)?))
}

/// Rows of a table, with the added columns, in the shape of `stamped`.
pub(super) fn stamp(
    rows: &RecordBatch,
    stamped: &StreamSchema,
    time: Timestamp,
    source: &str,
) -> Result<RecordBatch, ArrowError> {
    let count = rows.num_rows();
    let column = |field: &Arc<Field>| -> ArrayRef {
        match (rows.column_by_name(field.name()), field.name().as_str()) {
            (Some(column), _) => Arc::clone(column),
            (None, SYNC_TIME) => {
                Arc::new(TimestampMicrosecondArray::from_value(time.micros(), count).with_timezone("UTC"))
            }
            (None, _) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, count))),
        }
    };
    let columns = stamped.arrow().fields().iter().map(column).collect();
    RecordBatch::try_new(Arc::clone(stamped.arrow()), columns)
}
