//! In which order the existing rows of a table are read: by key, page by page, or as they lie on disk, in one window.
//!
//! | the table | read |
//! |---|---|
//! | has no key, or one whose order only the server knows | as it lies |
//! | is small, or its keys lie nearly in order | by key |
//! | its keys are scattered, and all of it is read within one window | as it lies: in key order each block is read many times |
//! | its keys are scattered, and it takes longer | by key: a kill does not start it again, and the log does not wait |
//!
//! How long it takes depends on the destinations, too: a read in one window that will plainly outlast it begins again by key.
//!
//! How scattered keys are is measured, because statistics know only of the first column and are weak there: how many blocks
//! hold the next [`PROBED_KEYS`] keys after a few that are drawn at random, against how many would have to.

use std::time::Duration;

use tokio_postgres::Client;

use super::catalogue::Table;
use super::error::sql;
use super::reads::Cut;
use super::shape::{OrderColumn, StreamShape};
use super::spec::{PostgresSourceSpec, ReadOrder};
use super::window::rows_of;
use crate::identifier::{quote_ident, quote_literal};

/// Below this everything is in memory soon, and any order will do.
const BLOCKS_MIN: i64 = 1024;

/// More blocks than this for each that would have to be read, and key order costs more than it gives (measured: 1 for keys
/// in the order of insertion, 10 after many updates, 40 for random ones).
const SCATTER_MAX: f64 = 2.0;

const PROBED_KEYS: i64 = 2_000;

/// Keys after which it is looked.
const PROBES: i64 = 3;

/// Blocks that a sample takes.
const SAMPLE_BLOCKS: f64 = 24.0;

/// What is read of a table in a second, cautiously: a table that is thought slower than it is, is read by key.
const BYTES_PER_SECOND: f64 = 50e6;

/// A probe only saves time, so it may not take much.
const PROBE_LIMITS: &str = "BEGIN READ ONLY; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '5s'; \
                            SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL enable_seqscan = off";

/// How a table is read, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub(crate) cut: Cut,
    pub(crate) why: Why,
    pub(crate) row_count_estimated: Option<u64>,
}

/// Why a table is read as it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Why {
    /// `read_order` says so.
    Asked,
    NoKey,
    UnknownOrder,
    Small,
    /// The server did not answer a probe in time.
    NotProbed,
    InOrder {
        scatter: f64,
    },
    Scattered {
        scatter: f64,
    },
    /// It was tried in one window.
    Outlasted,
    TooLong {
        scatter: f64,
        lasts: Duration,
    },
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Asked => write!(f, "`read_order` says so"),
            Why::NoKey => write!(f, "it has no primary key"),
            Why::UnknownOrder => write!(f, "the order of its primary key is known to the server alone"),
            Why::Outlasted => write!(f, "in one piece it would have taken longer than `window_max`"),
            Why::Small => write!(f, "it is small"),
            Why::NotProbed => write!(f, "the server did not say in time how its keys lie"),
            Why::InOrder { scatter } => write!(
                f,
                "its keys lie in order (in {scatter:.1} times as many blocks as need be)"
            ),
            Why::Scattered { scatter } => {
                write!(
                    f,
                    "its keys are scattered (over {scatter:.1} times as many blocks as need be)"
                )
            }
            Why::TooLong { scatter, lasts } => write!(
                f,
                "its keys are scattered (over {scatter:.1} times as many blocks as need be), but to start again after a kill \
                 would cost about {} s",
                lasts.as_secs()
            ),
        }
    }
}

/// Chooses. Never fails: what cannot be found out is read by key where that is possible.
pub(crate) async fn choose(client: &Client, table: &Table, shape: &StreamShape, spec: &PostgresSourceSpec) -> Choice {
    let estimated = (table.row_count_estimated >= 0.0).then_some(table.row_count_estimated as u64);
    let choice = |cut, why| Choice {
        cut,
        why,
        row_count_estimated: estimated,
    };
    let Some(order) = shape.order.as_deref() else {
        let why = if table.key().is_empty() {
            Why::NoKey
        } else {
            Why::UnknownOrder
        };
        return choice(Cut::OneWindow, why);
    };
    match spec.read_order {
        ReadOrder::Key => return choice(Cut::ByKey, Why::Asked),
        ReadOrder::Disk => return choice(Cut::OneWindow, Why::Asked),
        ReadOrder::Auto => {}
    }
    let probed = probe(client, table, order).await;
    // Ends the transaction of the probe, also one that failed.
    let ended = client.batch_execute("ROLLBACK").await;
    let layout = match (probed, ended) {
        (Ok(layout), Ok(())) => layout,
        (Err(error), _) => {
            tracing::debug!(
                table = table.name,
                error = error.chain(),
                "no probe of the order of keys"
            );
            return choice(Cut::ByKey, Why::NotProbed);
        }
        (_, Err(_)) => return choice(Cut::ByKey, Why::NotProbed),
    };
    let (cut, why) = decide(&layout, spec.window_max);
    Choice {
        cut,
        why,
        row_count_estimated: estimated.or(layout.row_count),
    }
}

/// How a table lies on disk.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layout {
    size_bytes: f64,
    row_count: Option<u64>,
    /// `None` where it makes no difference.
    scatter: Option<f64>,
}

fn decide(layout: &Layout, window_max: Duration) -> (Cut, Why) {
    let Some(scatter) = layout.scatter else {
        return (Cut::ByKey, Why::Small);
    };
    let lasts = Duration::from_secs_f64(layout.size_bytes / BYTES_PER_SECOND);
    match () {
        () if scatter <= SCATTER_MAX => (Cut::ByKey, Why::InOrder { scatter }),
        () if lasts <= window_max => (Cut::OneWindow, Why::Scattered { scatter }),
        () => (Cut::ByKey, Why::TooLong { scatter, lasts }),
    }
}

async fn probe(client: &Client, table: &Table, order: &[OrderColumn]) -> api::Result<Layout> {
    let doing = sql("look how the keys of a table lie");
    client.batch_execute(PROBE_LIMITS).await.map_err(&doing)?;
    let size = client
        .query_one(
            "WITH RECURSIVE tree(oid) AS (SELECT $1::oid UNION ALL
                                         SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid AND $2)
             SELECT coalesce(sum(pg_relation_size(oid)), 0)::int8, current_setting('block_size')::int8 FROM tree",
            &[&table.oid, &table.is_partitioned()],
        )
        .await
        .map_err(&doing)?;
    let (size_bytes, block_bytes): (i64, i64) = (size.get(0), size.get(1));
    let block_count = size_bytes / block_bytes.max(1);
    let mut layout = Layout {
        size_bytes: size_bytes as f64,
        row_count: None,
        scatter: None,
    };
    let is_small = block_count < BLOCKS_MIN;
    if is_small && table.row_count_estimated >= 0.0 {
        return Ok(layout);
    }
    let from = rows_of(table);
    let percent = (100.0 * SAMPLE_BLOCKS / block_count.max(1) as f64).min(100.0);
    let sample = format!("{from} TABLESAMPLE SYSTEM ({percent:.6})");
    let block = "(tableoid, (ctid::text::point)[0])";
    let density = format!("SELECT count(*)::float8, count(DISTINCT {block})::float8 FROM {sample}");
    let density = client.query_one(&density, &[]).await.map_err(&doing)?;
    let (rows, blocks): (f64, f64) = (density.get(0), density.get(1));
    let rows_per_block = rows / blocks.max(1.0);
    layout.row_count = Some((rows_per_block * block_count as f64) as u64);
    if is_small || rows == 0.0 {
        return Ok(layout);
    }
    let names: Vec<String> = order.iter().map(|column| quote_ident(&column.name)).collect();
    let spelled: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
    let drawn = format!(
        "SELECT {} FROM {sample} ORDER BY random() LIMIT {PROBES}",
        spelled.join(", ")
    );
    let (mut found, mut needed) = (0.0, 0.0);
    for row in client.query(&drawn, &[]).await.map_err(&doing)? {
        // As literals: with a parameter or a join the planner would not go by the index.
        let values: Vec<String> = order
            .iter()
            .enumerate()
            .map(|(i, column)| format!("{}::{}", quote_literal(row.get(i)), column.type_name))
            .collect();
        let probe = format!(
            "SELECT count(*)::float8, count(DISTINCT {block})::float8 FROM (SELECT tableoid, ctid FROM {from}
             WHERE ({}) >= ({}) ORDER BY {} LIMIT {PROBED_KEYS}) AS next",
            names.join(", "),
            values.join(", "),
            names.join(", "),
        );
        let row = client.query_one(&probe, &[]).await.map_err(&doing)?;
        let (keys, blocks): (f64, f64) = (row.get(0), row.get(1));
        found += blocks;
        needed += (keys / rows_per_block).max(1.0);
    }
    layout.scatter = (needed > 0.0).then(|| found / needed);
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size_bytes: f64, scatter: Option<f64>, expected: Cut) {
        let layout = Layout {
            size_bytes,
            row_count: None,
            scatter,
        };
        assert_eq!(decide(&layout, Duration::from_secs(60)).0, expected, "{layout:?}");
    }

    #[test]
    fn scattered_keys_are_read_as_they_lie_unless_that_takes_longer_than_a_window() {
        check(1e6, None, Cut::ByKey);
        check(1e9, Some(1.1), Cut::ByKey);
        check(1e9, Some(40.0), Cut::OneWindow);
        check(1e11, Some(40.0), Cut::ByKey);
    }
}
