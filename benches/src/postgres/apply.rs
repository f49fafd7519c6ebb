//! A backlog applied to a second server, against PostgreSQL's own subscription.

use std::time::{Duration, Instant};

use postgres::connect::Connection;
use serde_json::json;
use test_systems::Postgres;

use super::server::{Backlog, NAME, TABLE, connect, rows, start};
use crate::figure;
use crate::rig::{Result, Rig, block_on, tokio_runtime, until_rows};

/// An application's transactions: an insert of four rows, an update, a delete now and then.
const TRANSACTIONS: i64 = 50_000;
const CHANGES: i64 = TRANSACTIONS * 6;

pub(crate) fn run() -> Result<()> {
    let target = start()?;
    let spec = json!({ "url": target.url("postgres"), "schema": "ours" });
    let rig = || Rig::new("postgres", spec.clone());
    // The backlog's own connection lives on it.
    let runtime = tokio_runtime()?;
    let backlog = runtime.block_on(Backlog::make(vec![("sink", rig())], &[application()]))?;
    let [ours, theirs] = figure::medians([&mut || ours(&backlog, &target, rig()), &mut || {
        subscription(&backlog, &target)
    }])?;
    figure::print(
        "PostgreSQL -> PostgreSQL, exactly-once",
        ours,
        "changes/s",
        "PostgreSQL's subscription",
        theirs,
        ">= 2",
    );
    Ok(())
}

fn application() -> String {
    let four = rows(1, 4).replace(
        "generate_series(1::bigint, 4::bigint)",
        "generate_series(t * 4 + 1, t * 4 + 4)",
    );
    format!(
        "DO $$ BEGIN FOR t IN 0..{TRANSACTIONS} - 1 LOOP
             {four};
             UPDATE items SET note = 'changed', count = count + 1 WHERE id = t * 4 + 2;
             DELETE FROM items WHERE id = t * 4 + 3;
             COMMIT;
         END LOOP; END $$"
    )
}

/// What a source has in `items` in the end.
async fn until_same(client: &Connection, table: &str) -> Result<()> {
    let last = TRANSACTIONS * 4;
    let sql = format!("SELECT count(*) FROM {table} WHERE id = {last}");
    let deadline = Instant::now() + Duration::from_secs(600);
    while client.query_one(&sql, &[]).await?.get::<_, i64>(0) == 0 {
        if Instant::now() > deadline {
            return Err(format!("{table} is not there after ten minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let count: i64 = client
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await?
        .get(0);
    if count != TRANSACTIONS * 3 {
        return Err(format!("{table} has {count} rows").into());
    }
    Ok(())
}

fn ours(backlog: &Backlog, target: &Postgres, rig: Rig) -> Result<f64> {
    block_on(async {
        let client = connect(target).await?;
        // The table as the first read left it, and its mark with it: that is what the state directory says, too.
        client
            .batch_execute(
                "CREATE SCHEMA IF NOT EXISTS kept; CREATE TABLE IF NOT EXISTS kept.ledger AS TABLE _highwater.ledger",
            )
            .await?;
        client
            .batch_execute(
                "TRUNCATE ours.items; TRUNCATE _highwater.ledger; INSERT INTO _highwater.ledger SELECT * FROM kept.ledger",
            )
            .await?;
        let state = backlog.state()?;
        let started = Instant::now();
        let runtime = backlog.runtime(state.path(), vec![("sink", rig)]).await?;
        until_rows(&runtime, CHANGES).await?;
        let rate = CHANGES as f64 / started.elapsed().as_secs_f64();
        runtime.drain(Duration::from_secs(60)).await;
        until_same(&client, "ours.items").await?;
        Ok(rate)
    })
}

fn subscription(backlog: &Backlog, target: &Postgres) -> Result<f64> {
    const SLOT: &str = "bench_subscription";
    block_on(async {
        backlog.slot(SLOT).await?;
        let client = connect(target).await?;
        client.batch_execute("DROP TABLE IF EXISTS public.items").await?;
        client.batch_execute(TABLE).await?;
        client
            .batch_execute(&format!(
                "CREATE SUBSCRIPTION bench CONNECTION 'host=127.0.0.1 port={} user=postgres dbname=postgres' PUBLICATION {NAME}
                 WITH (slot_name = '{SLOT}', create_slot = false, copy_data = false, enabled = false, binary = true)",
                backlog.server.port()
            ))
            .await?;
        let started = Instant::now();
        client.batch_execute("ALTER SUBSCRIPTION bench ENABLE").await?;
        until_same(&client, "public.items").await?;
        let rate = CHANGES as f64 / started.elapsed().as_secs_f64();
        client.batch_execute("ALTER SUBSCRIPTION bench DISABLE").await?;
        // Drops the slot as well.
        client.batch_execute("DROP SUBSCRIPTION bench").await?;
        Ok(rate)
    })
}
