//! How values lie in SQLite, worked out a second time and without the destination's own code.

use api::conformance::{sample, text_of};
use api::{DestinationOptions, WriteMode};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Schema, TimeUnit,
};
use model::{Batch, LogicalType, Ops, StreamId};
use std::sync::Arc;

use crate::database::Database;

const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// What a reader should see of the value: integers and reals as Rust prints them, blobs as hexadecimal.
pub(crate) fn expected_text(field: &Field, column: &ArrayRef, row: usize) -> Option<String> {
    let plain = text_of(column.as_ref(), row)?;
    let number = || {
        let numbers = arrow::compute::cast(column, &DataType::Int64).unwrap();
        numbers.as_primitive::<Int64Type>().value(row)
    };
    Some(match column.data_type() {
        DataType::Boolean => if plain == "true" { "1" } else { "0" }.to_owned(),
        DataType::Float32 => format!("{:?}", f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::FixedSizeBinary(16) if LogicalType::of(field) == Some(LogicalType::Uuid) => {
            let cuts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|cut| plain[cut].to_owned());
            cuts.join("-")
        }
        DataType::Time64(unit) => {
            let (text, digits) = fraction(i128::from(number()), unit);
            let time = (EPOCH + jiff::SignedDuration::from_secs(text))
                .strftime("%H:%M:%S")
                .to_string();
            format!("{time}{digits}")
        }
        DataType::Timestamp(unit, zone) => {
            let (seconds, digits) = fraction(i128::from(number()), unit);
            let time = (EPOCH + jiff::SignedDuration::from_secs(seconds))
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string();
            format!("{time}{digits}{}", if zone.is_some() { "Z" } else { "" })
        }
        DataType::Duration(_) => number().to_string(),
        DataType::Interval(unit) => {
            let (months, days, nanoseconds) = match unit {
                IntervalUnit::YearMonth => (column.as_primitive::<IntervalYearMonthType>().value(row), 0, 0),
                IntervalUnit::DayTime => {
                    let value = column.as_primitive::<IntervalDayTimeType>().value(row);
                    (0, value.days, i64::from(value.milliseconds) * 1_000_000)
                }
                IntervalUnit::MonthDayNano => {
                    let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
                    (value.months, value.days, value.nanoseconds)
                }
            };
            interval(months, days, nanoseconds)
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => json(field, column, row),
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let pairs: Vec<String> = (0..entries.len())
                .map(|at| {
                    let parts = [0, 1].map(|part| {
                        json(
                            &Field::new("x", entries.column(part).data_type().clone(), true),
                            entries.column(part),
                            at,
                        )
                    });
                    format!("[{}]", parts.join(","))
                })
                .collect();
            format!("[{}]", pairs.join(","))
        }
        _ => plain,
    })
}

/// Whole seconds, and what stands behind them.
fn fraction(value: i128, unit: &TimeUnit) -> (i64, String) {
    let (per_second, digits): (i128, usize) = match unit {
        TimeUnit::Second => return (value as i64, String::new()),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
    let rest = value.rem_euclid(per_second);
    (value.div_euclid(per_second) as i64, format!(".{rest:0digits$}"))
}

fn interval(months: i32, days: i32, nanoseconds: i64) -> String {
    let part = |value: i64, unit: char| {
        if value == 0 {
            String::new()
        } else {
            format!("{value}{unit}")
        }
    };
    let date = part(months.into(), 'M') + &part(days.into(), 'D');
    let seconds = format!("{:.9}", nanoseconds.unsigned_abs() as f64 / 1e9);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    let sign = if nanoseconds < 0 { "-" } else { "" };
    match (date.is_empty(), nanoseconds) {
        (true, 0) => "PT0S".to_owned(),
        (_, 0) => format!("P{date}"),
        _ => format!("P{date}T{sign}{seconds}S"),
    }
}

/// As Arrow's own JSON writer writes it.
fn json(field: &Field, column: &ArrayRef, row: usize) -> String {
    let field = Field::new("v", field.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column.slice(row, 1)]).unwrap();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let line = String::from_utf8(writer.into_inner()).unwrap();
    line.trim()
        .strip_prefix("{\"v\":")
        .unwrap()
        .strip_suffix('}')
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn reals_are_kept_and_nan_is_said() {
    let database = Database::new();
    let schema = sample::schema(
        StreamId::new("reals"),
        vec![Field::new("v", DataType::Float64, true)],
        [],
    );
    let values = Float64Array::from(vec![-0.0, 0.0, 1.0, f64::NAN, f64::INFINITY, 5e-324]);
    let rows = RecordBatch::try_new(Arc::clone(schema.arrow()), vec![Arc::new(values)]).unwrap();
    let order = sample::position(1).order;
    let batch = Batch {
        partition: sample::log(),
        page: 0,
        ops: Ops::all(model::Op::Insert, rows.num_rows()),
        commits: vec![model::Commit {
            row_end: rows.num_rows(),
            order,
            time: sample::time_of(order),
        }],
        rows,
        schema,
        before: None,
        unavailable: None,
        page_tags: Vec::new(),
    };
    let options = DestinationOptions {
        write: Some(WriteMode::Append),
        ..DestinationOptions::default()
    };
    let mut session = database.open(options).await;
    session.apply(sample::changeset(None, 1, [batch])).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        database.lines("SELECT v, typeof(v) FROM reals"),
        [
            "0.0, 'real'",
            "0.0, 'real'",
            "1.0, 'real'",
            "'NaN', 'text'",
            "inf, 'real'",
            "5e-324, 'real'"
        ]
    );
}
