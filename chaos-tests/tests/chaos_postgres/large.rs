//! What is large: many tables, a long table, a long transaction, a wide table, a long value. One server, from one database
//! into another.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::postgres::client::Client;
use highwater_chaos_tests::process::{Runtime, look_every};
use highwater_chaos_tests::scale::{Run, is_full, planned, say};
use rustix::process::Signal;
use test_systems::{Postgres, PostgresOptions};

const MEMORY_MIB: u64 = 256;
/// Two busy cores and an unoptimized build.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A server, a directory, and one session in each of the two databases.
struct Scene {
    dir: tempfile::TempDir,
    source: Client,
    target: Client,
    // Last: it stops when everything else has gone.
    _server: Postgres,
}

impl Scene {
    /// `None` if this machine has no PostgreSQL.
    fn new() -> io::Result<Option<Self>> {
        // Only processes die here, never the machine.
        let options = PostgresOptions::default()
            .set("fsync", "off")
            .set("max_wal_size", "4GB")
            .set("max_locks_per_transaction", "512");
        let server = match Postgres::start_with(&options) {
            Ok(server) => server,
            Err(missing) => {
                say(&format!("skipped: {missing}"));
                return Ok(None);
            }
        };
        let source = Client::connect(&server.url("postgres"))?;
        source.rows("CREATE DATABASE target")?;
        let dir = tempfile::Builder::new().prefix("highwater-large-").tempdir()?;
        let text = format!(
            "version: 1\n\
             runtime:\n\
             \x20 state: {{ path: state }}\n\
             \x20 memory: {{ limit: {MEMORY_MIB}MiB }}\n\
             \x20 spool: {{ home: memory, window_max: 32MiB }}\n\
             \x20 admin: {{ listen: \"off\" }}\n\
             pipelines:\n\
             \x20 large:\n\
             \x20   source:\n\
             \x20     connector: postgres\n\
             \x20     spec: {{ url: \"{}\" }}\n\
             \x20     streams: [\"public.*\"]\n\
             \x20   destinations:\n\
             \x20     copy: {{ connector: postgres, spec: {{ url: \"{}\" }}, write: upsert, batch: {{ rows_max: 50000 }} }}\n",
            server.url("postgres"),
            server.url("target"),
        );
        std::fs::write(dir.path().join("highwater.yaml"), text)?;
        Ok(Some(Scene {
            target: Client::connect(&server.url("target"))?,
            source,
            dir,
            _server: server,
        }))
    }

    fn start(&self) -> io::Result<Runtime> {
        let log = self.dir.path().join("runtime.log");
        Runtime::start(self.dir.path(), &log, &["run", "-c", "highwater.yaml"], &[])
    }

    /// Waits until `sql` gives `expected` at the target.
    fn wait_for(&self, runtime: &mut Runtime, sql: &str, expected: &str) -> io::Result<()> {
        let mut last = None;
        let is_there = look_every(LOOK_EVERY, PATIENCE, || {
            let has_ended = runtime.ended().ok()?.is_some();
            assert!(!has_ended, "ended by itself: {}", runtime.last_words());
            // Not there yet is an error, too: the table may be missing.
            last = self.target.value(sql).ok().flatten();
            (last.as_deref() == Some(expected)).then_some(())
        });
        match is_there {
            Some(()) => Ok(()),
            None => Err(io::Error::other(format!(
                "`{sql}` gives {last:?} instead of {expected} after {PATIENCE:?}: {}",
                runtime.last_words()
            ))),
        }
    }

    /// Both databases have the same rows of a table.
    fn assert_same(&self, table: &str) -> io::Result<()> {
        let sql =
            format!("SELECT count(*) || '/' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {table} t");
        assert_eq!(self.source.value(&sql)?, self.target.value(&sql)?, "{table}");
        Ok(())
    }

    fn drain(&self, mut runtime: Runtime) -> io::Result<()> {
        runtime.signal(Signal::TERM)?;
        let ended = runtime.wait(Duration::from_secs(120))?;
        let code = ended.and_then(|status| status.code());
        assert_eq!(code, Some(0), "{}", runtime.last_words());
        Ok(())
    }
}

#[test]
fn thousand_tables_are_read_and_followed() -> io::Result<()> {
    let count = planned(1_000);
    let mut run = Run::begin("thousand_tables_are_read_and_followed", count);
    let Some(scene) = Scene::new()? else { return Ok(()) };
    for at in 0..count {
        scene.source.rows(&format!(
            "CREATE TABLE t{at}(id bigint PRIMARY KEY, name text);
             INSERT INTO t{at} SELECT i, 'row ' || i FROM generate_series(1, 20) i"
        ))?;
    }
    let mut runtime = scene.start()?;
    let last = format!("SELECT count(*) FROM t{}", count - 1);
    let all = "SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$' AND relnamespace = 'public'::regnamespace";
    scene.wait_for(&mut runtime, all, &count.to_string())?;
    scene.wait_for(&mut runtime, &last, "20")?;
    runtime.kill()?;
    for at in 0..count {
        scene.source.rows(&format!(
            "UPDATE t{at} SET name = 'new' WHERE id = 3; DELETE FROM t{at} WHERE id = 4"
        ))?;
        run.did();
    }
    let mut runtime = scene.start()?;
    scene.wait_for(&mut runtime, &last, "19")?;
    let peak = runtime.peak_resident_bytes().unwrap_or_default() >> 20;
    for at in 0..count {
        scene.wait_for(&mut runtime, &format!("SELECT count(*) FROM t{at}"), "19")?;
        scene.assert_same(&format!("t{at}"))?;
    }
    scene.drain(runtime)?;
    run.end(&format!("at most {peak} MiB resident"));
    Ok(())
}

#[test]
fn long_table_is_read_through_a_kill() -> io::Result<()> {
    let rows: u64 = if is_full() { 10_000_000 } else { 1_000_000 };
    let mut run = Run::begin("long_table_is_read_through_a_kill", 1);
    let Some(scene) = Scene::new()? else { return Ok(()) };
    scene
        .source
        .rows("CREATE TABLE long(id bigint PRIMARY KEY, name text, amount numeric(12,2), at timestamptz)")?;
    for part in 0..10 {
        let (from, to) = (part * rows / 10 + 1, (part + 1) * rows / 10);
        scene.source.rows(&format!(
            "INSERT INTO long SELECT i, 'name ' || i, i / 100.0, timestamptz '2026-01-01' + i * interval '1 second'
             FROM generate_series({from}::bigint, {to}) i"
        ))?;
    }
    scene.source.rows("ANALYZE long")?;
    let mut runtime = scene.start()?;
    scene.wait_for(&mut runtime, "SELECT (count(*) > 0)::text FROM long", "true")?;
    runtime.kill()?;
    run.did();
    let held: u64 = scene
        .target
        .value("SELECT count(*) FROM long")?
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    assert!(held < rows, "the kill came after the read");
    scene.source.rows(&format!(
        "UPDATE long SET name = 'changed' WHERE id % {} = 0; DELETE FROM long WHERE id = {rows}; DELETE FROM long WHERE id = 1",
        rows / 100
    ))?;
    let mut runtime = scene.start()?;
    scene.wait_for(&mut runtime, "SELECT count(*) FROM long", &(rows - 2).to_string())?;
    scene.wait_for(&mut runtime, "SELECT count(*) FROM long WHERE name = 'changed'", "99")?;
    let peak = runtime.peak_resident_bytes().unwrap_or_default() >> 20;
    scene.assert_same("long")?;
    scene.drain(runtime)?;
    assert!(peak <= MEMORY_MIB + 64, "{peak} MiB resident");
    run.end(&format!("{rows} rows, killed at {held}, at most {peak} MiB resident"));
    Ok(())
}

#[test]
fn long_transaction_stays_within_memory_and_comes_at_once() -> io::Result<()> {
    let rows: u64 = if is_full() { 5_000_000 } else { 500_000 };
    let mut run = Run::begin("long_transaction_stays_within_memory_and_comes_at_once", 1);
    let Some(scene) = Scene::new()? else { return Ok(()) };
    scene.source.rows(
        "CREATE TABLE bulk(id bigint PRIMARY KEY, name text, note text);
         INSERT INTO bulk VALUES (0, 'first', 'there before')",
    )?;
    let mut runtime = scene.start()?;
    scene.wait_for(&mut runtime, "SELECT count(*) FROM bulk", "1")?;
    scene.source.rows("BEGIN")?;
    for part in 0..10 {
        let (from, to) = (part * rows / 10 + 1, (part + 1) * rows / 10);
        scene.source.rows(&format!(
            "INSERT INTO bulk SELECT i, 'name ' || i, repeat(md5(i::text), 3) FROM generate_series({from}::bigint, {to}) i"
        ))?;
    }
    scene.source.rows("COMMIT")?;
    run.did();
    // Nothing of it is visible before all of it is.
    let all = (rows + 1).to_string();
    let seen = look_every(LOOK_EVERY, PATIENCE, || {
        assert!(
            runtime.ended().ok()?.is_none(),
            "ended by itself: {}",
            runtime.last_words()
        );
        let count = scene.target.value("SELECT count(*) FROM bulk").ok().flatten()?;
        assert!(count == "1" || count == all, "{count} rows of {all} are visible");
        (count == all).then_some(())
    });
    assert!(seen.is_some(), "not there after {PATIENCE:?}: {}", runtime.last_words());
    let peak = runtime.peak_resident_bytes().unwrap_or_default() >> 20;
    scene.assert_same("bulk")?;
    scene.drain(runtime)?;
    assert!(peak <= MEMORY_MIB + 64, "{peak} MiB resident");
    run.end(&format!("{rows} rows, at most {peak} MiB resident"));
    Ok(())
}

#[test]
fn widest_table_is_read_and_followed() -> io::Result<()> {
    const COLUMNS: usize = 1_600;
    let mut run = Run::begin("widest_table_is_read_and_followed", 1);
    let Some(scene) = Scene::new()? else { return Ok(()) };
    let columns: Vec<String> = (1..COLUMNS).map(|at| format!("c{at} smallint")).collect();
    let values: Vec<String> = (1..COLUMNS).map(|at| format!("i + {at}")).collect();
    scene.source.rows(&format!(
        "CREATE TABLE wide(id bigint PRIMARY KEY, {});
         INSERT INTO wide SELECT i, {} FROM generate_series(1, 50) i",
        columns.join(", "),
        values.join(", ")
    ))?;
    let mut runtime = scene.start()?;
    scene.wait_for(&mut runtime, "SELECT count(*) FROM wide", "50")?;
    scene.source.rows(
        "UPDATE wide SET c1599 = -1 WHERE id <= 10; DELETE FROM wide WHERE id = 50;
         UPDATE wide SET id = 1000 WHERE id = 20",
    )?;
    run.did();
    scene.wait_for(
        &mut runtime,
        "SELECT count(*) FROM wide WHERE c1599 = -1 OR id = 1000",
        "11",
    )?;
    scene.wait_for(&mut runtime, "SELECT count(*) FROM wide", "49")?;
    scene.assert_same("wide")?;
    scene.drain(runtime)?;
    run.end("");
    Ok(())
}

#[test]
fn long_value_arrives_or_is_refused_by_name_with_nothing_lost() -> io::Result<()> {
    let mib = if is_full() { 200 } else { 20 };
    let mut run = Run::begin("long_value_arrives_or_is_refused_by_name_with_nothing_lost", 1);
    let Some(scene) = Scene::new()? else { return Ok(()) };
    scene.source.rows(
        "CREATE TABLE long_values(id bigint PRIMARY KEY, body text); INSERT INTO long_values VALUES (1, 'short')",
    )?;
    let mut runtime = scene.start()?;
    scene.wait_for(&mut runtime, "SELECT count(*) FROM long_values", "1")?;
    scene.source.rows(&format!(
        "INSERT INTO long_values VALUES (2, 'before');
         INSERT INTO long_values VALUES (3, repeat('x', {mib} * 1024 * 1024));
         INSERT INTO long_values VALUES (4, 'after')"
    ))?;
    run.did();
    let outcome = look_every(LOOK_EVERY, PATIENCE, || {
        assert!(
            runtime.ended().ok()?.is_none(),
            "ended by itself: {}",
            runtime.last_words()
        );
        let count = scene.target.value("SELECT count(*) FROM long_values").ok().flatten()?;
        let words = runtime.last_words();
        let is_refused = ["long_values", "body", "3"].iter().all(|word| words.contains(word)) && words.contains("E0");
        (count == "4" || is_refused).then_some(count)
    });
    let Some(count) = outcome else {
        panic!("neither there nor refused: {}", runtime.last_words());
    };
    let peak = runtime.peak_resident_bytes().unwrap_or_default() >> 20;
    if count == "4" {
        scene.assert_same("long_values")?;
        scene.drain(runtime)?;
        run.end(&format!("{mib} MiB arrived, at most {peak} MiB resident"));
    } else {
        // The rows before it are in, those after it wait for a decision.
        assert_eq!(
            scene
                .target
                .value("SELECT string_agg(body, ',' ORDER BY id) FROM long_values")?
                .as_deref(),
            Some("short,before")
        );
        say(&runtime.last_words());
        runtime.kill()?;
        run.end(&format!("{mib} MiB refused, at most {peak} MiB resident"));
    }
    Ok(())
}
