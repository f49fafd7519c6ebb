//! The first read of a table: into SQLite and into Parquet, beside what the crates themselves can do.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::figure;
use crate::rig::{Result, Rig, block_on, database, until_rows};

const ROWS: i64 = 1_000_000;

pub(crate) fn to_sqlite() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("source.db");
    database(&source, ROWS)?;
    let [limit, ours] = figure::medians([&mut || insert_select(&source), &mut || {
        ours(&source, "sqlite", "copy.db")
    }])?;
    figure::print(
        "SQLite -> SQLite, exactly-once",
        ours,
        "rows/s",
        "INSERT ... SELECT in one process",
        limit,
        ">= 0.5",
    );
    Ok(())
}

pub(crate) fn to_parquet() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("source.db");
    database(&source, ROWS)?;
    let [limit, ours] = figure::medians([&mut || plain_loop(&source), &mut || {
        ours(&source, "parquet", "lake/{stream}/")
    }])?;
    figure::print(
        "SQLite -> Parquet, exactly-once",
        ours,
        "rows/s",
        "plain loop on the same crates",
        limit,
        ">= 0.8",
    );
    Ok(())
}

fn ours(source: &Path, connector: &'static str, path: &str) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    // A copy, so that each run installs its own triggers and reads everything.
    let copy = dir.path().join("source.db");
    rusqlite::Connection::open(source)?.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
    rusqlite::Connection::open(&copy)?.execute_batch("PRAGMA journal_mode = WAL")?;
    // `VACUUM INTO` leaves its file to the system; without this our first commit would also write that out.
    File::open(&copy)?.sync_all()?;
    block_on(async {
        let started = Instant::now();
        let rig = Rig {
            wait_max: Duration::from_millis(500),
            ..Rig::new(connector, json!({ "path": dir.path().join(path) }))
        };
        let runtime = Rig::start(dir.path(), &copy, vec![("sink", rig)]).await?;
        until_rows(&runtime, ROWS).await?;
        let rate = ROWS as f64 / started.elapsed().as_secs_f64();
        runtime.drain(Duration::from_secs(60)).await;
        Ok(rate)
    })
}

fn insert_select(source: &Path) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let db = rusqlite::Connection::open(dir.path().join("copy.db"))?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    db.execute("ATTACH ?1 AS source", [source.to_string_lossy()])?;
    db.execute_batch(
        "CREATE TABLE items(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INTEGER, d INTEGER, e REAL, f REAL, g TEXT, h INTEGER, i BLOB);",
    )?;
    let started = Instant::now();
    db.execute("INSERT INTO items SELECT * FROM source.items", [])?;
    Ok(ROWS as f64 / started.elapsed().as_secs_f64())
}

/// Reads with rusqlite into Arrow builders and writes with the parquet crate's own writer; syncs once.
fn plain_loop(source: &Path) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let db = rusqlite::Connection::open(source)?;
    let started = Instant::now();
    let mut statement = db.prepare("SELECT * FROM items")?;
    let mut rows = statement.query([])?;
    let file = File::create(dir.path().join("items.parquet"))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .build();
    let mut writer: Option<ArrowWriter<File>> = None;
    loop {
        let mut ints: Vec<Int64Builder> = (0..4).map(|_| Int64Builder::new()).collect();
        let mut texts: Vec<StringBuilder> = (0..3).map(|_| StringBuilder::new()).collect();
        let mut reals: Vec<Float64Builder> = (0..2).map(|_| Float64Builder::new()).collect();
        let mut blob = BinaryBuilder::new();
        let mut count = 0;
        while count < 10_000 {
            let Some(row) = rows.next()? else { break };
            for (builder, column) in ints.iter_mut().zip([0, 3, 4, 8]) {
                builder.append_value(row.get_ref(column)?.as_i64()?);
            }
            for (builder, column) in texts.iter_mut().zip([1, 2, 7]) {
                builder.append_value(row.get_ref(column)?.as_str()?);
            }
            for (builder, column) in reals.iter_mut().zip([5, 6]) {
                builder.append_value(row.get_ref(column)?.as_f64()?);
            }
            blob.append_value(row.get_ref(9)?.as_blob()?);
            count += 1;
        }
        if count == 0 {
            break;
        }
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        let mut push = |array: ArrayRef| columns.push((format!("c{}", columns.len()), array));
        ints.iter_mut().for_each(|builder| push(Arc::new(builder.finish())));
        texts.iter_mut().for_each(|builder| push(Arc::new(builder.finish())));
        reals.iter_mut().for_each(|builder| push(Arc::new(builder.finish())));
        push(Arc::new(blob.finish()));
        let batch = RecordBatch::try_from_iter(columns)?;
        if writer.is_none() {
            writer = Some(ArrowWriter::try_new(
                file.try_clone()?,
                batch.schema(),
                Some(properties.clone()),
            )?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
        }
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    file.sync_all()?;
    Ok(ROWS as f64 / started.elapsed().as_secs_f64())
}
