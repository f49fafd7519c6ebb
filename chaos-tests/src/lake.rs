//! What a directory of Parquet files shows: to someone who reads the manifests, and to someone who just reads the folder.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use bytes::Bytes;
use model::Checkpoint;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::chains::{Appended, ChainChecker, What};
use crate::oracle::Oracle;
use crate::prefix::{Verdict, Violation};
use crate::shop::Table;
use crate::value::{Row, Value};
use crate::view::{TableView, View};

/// Checks one directory again and again, as commits are added to it.
///
/// What it relies on, `<ledger>` being `_highwater/<pipeline>.<destination>`: `<ledger>/<number>.json` is a commit, 8 digits,
/// from 1 without gaps; `<ledger>/compacted/<first>-<last>.jsonl` holds older ones that have files, one a line.
pub struct LakeWatch {
    root: PathBuf,
    ledger: PathBuf,
    chains: ChainChecker,
    /// Files of the manifests that were checked.
    listed: BTreeSet<PathBuf>,
    next: u64,
    generation: u64,
    /// Rows of folded manifests, whose checkpoints are gone: they are checked with the next one that has its own.
    folded: Vec<Appended>,
    last: Verdict,
}

/// The parts of a manifest that are looked at.
#[derive(Debug, Deserialize)]
struct Manifest {
    number: u64,
    generation: u64,
    checkpoint: Option<Checkpoint>,
    files: Vec<ListedFile>,
}

#[derive(Debug, Deserialize)]
struct ListedFile {
    path: PathBuf,
    staged: PathBuf,
    stream: String,
    row_count: usize,
    size_bytes: u64,
    crc32c: String,
}

impl LakeWatch {
    /// A directory that holds nothing yet.
    pub fn new(root: PathBuf, pipeline: &str, destination: &str, view: View) -> Self {
        LakeWatch {
            ledger: root.join(format!("_highwater/{pipeline}.{destination}")),
            root,
            chains: ChainChecker::new(view),
            listed: BTreeSet::new(),
            next: 1,
            generation: 0,
            folded: Vec::new(),
            last: Verdict::default(),
        }
    }

    /// Sees more tables from now on.
    pub fn widen(&mut self, view: View, oracle: &mut Oracle) {
        self.last.is_live &= !self.chains.widen(view, oracle);
    }

    /// Reads the manifests that are new, and the folder.
    pub fn check(&mut self, oracle: &mut Oracle) -> io::Result<Verdict> {
        // First the folder: what is visible in it must be in a manifest that is there by then.
        let visible = visible_files(&self.root)?;
        let mut violations = Vec::new();
        while let Some(manifests) = self.read_next()? {
            for manifest in manifests {
                self.check_manifest(manifest, oracle, &mut violations)?;
            }
        }
        let unlisted = visible.difference(&self.listed);
        violations
            .extend(unlisted.map(|path| Violation::Files(format!("visible, but in no manifest: {}", path.display()))));
        Ok(Verdict {
            violations,
            ..self.last
        })
    }

    fn check_manifest(
        &mut self,
        manifest: Manifest,
        oracle: &mut Oracle,
        violations: &mut Vec<Violation>,
    ) -> io::Result<()> {
        if manifest.generation < self.generation {
            let what = format!(
                "manifest {} is of generation {} after one of {}",
                manifest.number, manifest.generation, self.generation
            );
            violations.push(Violation::Files(what));
        }
        self.generation = manifest.generation;
        let mut rows = std::mem::take(&mut self.folded);
        for file in &manifest.files {
            rows.extend(self.read_listed(file, violations)?);
            if !self.listed.insert(file.path.clone()) {
                violations.push(Violation::Files(format!("listed twice: {}", file.path.display())));
            }
        }
        match manifest.checkpoint {
            // The first manifest of all only begins a generation.
            None => self.folded = rows,
            Some(checkpoint) => {
                self.last = self.chains.check(&rows, &checkpoint, oracle)?;
                violations.append(&mut self.last.violations);
            }
        }
        Ok(())
    }

    /// The next manifest, or all that were folded together with it.
    fn read_next(&mut self) -> io::Result<Option<Vec<Manifest>>> {
        // A manifest may be folded away between two looks: then the second finds it in a segment.
        for _ in 0..2 {
            if let Some(text) = read_if_there(&self.ledger.join(format!("{:08}.json", self.next)))? {
                self.next += 1;
                return Ok(Some(vec![serde_json::from_slice(&text).map_err(io::Error::other)?]));
            }
            if let Some((last, path)) = find_segment(&self.ledger.join("compacted"), self.next)? {
                let first = std::mem::replace(&mut self.next, last + 1);
                let text = std::fs::read_to_string(path)?;
                let all = text
                    .lines()
                    .map(serde_json::from_str::<Manifest>)
                    .collect::<Result<Vec<_>, _>>();
                let new = all
                    .map_err(io::Error::other)?
                    .into_iter()
                    .filter(|manifest| manifest.number >= first);
                return Ok(Some(new.collect()));
            }
        }
        Ok(None)
    }

    fn read_listed(&self, file: &ListedFile, violations: &mut Vec<Violation>) -> io::Result<Vec<Appended>> {
        let table = Table::named(file.stream.rsplit('.').next().unwrap_or_default());
        let Some(view) = table.and_then(|table| self.chains.view().of(table)) else {
            violations.push(Violation::Files(format!(
                "file of a stream that was not asked for: {}",
                file.stream
            )));
            return Ok(Vec::new());
        };
        // Between the commit and its publication a reader of manifests finds the file where it was staged.
        let published = read_if_there(&self.root.join(&file.path))?;
        let bytes = match published {
            Some(bytes) => Some(bytes),
            None => read_if_there(&self.root.join(&file.staged))?.or(read_if_there(&self.root.join(&file.path))?),
        };
        let Some(bytes) = bytes else {
            violations.push(Violation::Files(format!(
                "listed, but not there: {}",
                file.path.display()
            )));
            return Ok(Vec::new());
        };
        let found = (bytes.len() as u64, format!("{:08x}", crc32c::crc32c(&bytes)));
        let rows = read_rows(Bytes::from(bytes), view)?;
        if found != (file.size_bytes, file.crc32c.clone()) || rows.len() != file.row_count {
            let what = format!(
                "not what its manifest says: {} has {found:?} and {} rows",
                file.path.display(),
                rows.len()
            );
            violations.push(Violation::Files(what));
        }
        Ok(rows)
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The segment that a manifest was folded into, and the last number in it.
fn find_segment(compacted: &Path, number: u64) -> io::Result<Option<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(compacted) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let range = path.file_stem().and_then(|stem| stem.to_str()?.split_once('-'));
        let range = range.and_then(|(first, last)| Some(first.parse::<u64>().ok()?..=last.parse::<u64>().ok()?));
        if let Some(range) = range.filter(|range| range.contains(&number)) {
            return Ok(Some((*range.end(), path)));
        }
    }
    Ok(None)
}

/// What someone sees who knows nothing of manifests: every file that does not begin with `_` or `.`, nor lies in such a folder.
fn visible_files(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name
                .as_encoded_bytes()
                .first()
                .is_some_and(|first| b"_.".contains(first))
            {
                continue;
            }
            let path = folder.join(&name);
            match entry.file_type()?.is_dir() {
                true => folders.push(path),
                false => {
                    found.insert(path);
                }
            }
        }
    }
    Ok(found)
}

/// The rows of a Parquet file as they were appended.
fn read_rows(bytes: Bytes, view: &TableView) -> io::Result<Vec<Appended>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
    let mut rows = Vec::new();
    for batch in reader.map_err(io::Error::other)? {
        let batch = batch.map_err(io::Error::other)?;
        rows.extend(
            appended(&batch, view).ok_or_else(|| io::Error::other(format!("unknown shape: {}", batch.schema())))?,
        );
    }
    Ok(rows)
}

fn appended(batch: &RecordBatch, view: &TableView) -> Option<Vec<Appended>> {
    let ops = batch.column_by_name("_highwater_op")?.as_string_opt::<i32>()?;
    let columns: Vec<&dyn Array> = view
        .columns()
        .map(|name| batch.column_by_name(name).map(AsRef::as_ref))
        .collect::<Option<_>>()?;
    // Connectors that send whole rows have no such column's worth of names.
    let absent = batch.column_by_name("_highwater_unavailable")?.as_list_opt::<i32>()?;
    let unsent = |at: usize| -> Option<Vec<usize>> {
        if absent.is_null(at) {
            return Some(Vec::new());
        }
        let names = absent.value(at);
        let names = names.as_string_opt::<i32>()?;
        let place = |name: Option<&str>| view.columns().position(|column| Some(column) == name);
        Some(names.iter().filter_map(place).collect())
    };
    let row = |at: usize| -> Option<Row> {
        columns
            .iter()
            .map(|column| value(*column, at))
            .collect::<Option<Vec<_>>>()
            .map(Row::from)
    };
    let what = |at: usize| match ops.value(at) {
        "read" => row(at).map(What::Read),
        "insert" | "update" => row(at).map(What::Is),
        "delete" => row(at).map(What::Gone),
        "begin_read" | "truncate" => Some(What::StartsAnew),
        _ => None,
    };
    (0..batch.num_rows())
        .map(|at| {
            Some(Appended {
                table: view.table(),
                what: what(at)?,
                unsent: unsent(at)?,
            })
        })
        .collect()
}

fn value(array: &dyn Array, at: usize) -> Option<Value> {
    if array.is_null(at) {
        return Some(Value::Null);
    }
    Some(match array.data_type() {
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(at)),
        DataType::Float64 => Value::Real(array.as_primitive::<Float64Type>().value(at)),
        DataType::Utf8 => Value::text(array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => Value::text(array.as_string::<i64>().value(at)),
        DataType::Binary => Value::blob(array.as_binary::<i32>().value(at)),
        DataType::LargeBinary => Value::blob(array.as_binary::<i64>().value(at)),
        _ => return None,
    })
}
