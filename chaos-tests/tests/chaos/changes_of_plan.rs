//! `kill -9` while a stream or a destination is added, or read again, and the others go on.

use std::io;
use std::time::Duration;

use highwater_chaos_tests::drill::{kill_at_random, wait_for_commit};
use highwater_chaos_tests::scale::{Run, planned};
use highwater_chaos_tests::shop::Table;
use highwater_chaos_tests::site::{Destination, Layout, Site};
use highwater_chaos_tests::view::View;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{RATE, small_site};

#[test]
fn kill_while_a_table_is_added_leaves_a_prefix() -> io::Result<()> {
    let run = Run::begin("kill_while_a_table_is_added_leaves_a_prefix", planned(50));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(50));
    let first = || {
        Table::ALL
            .into_iter()
            .filter(|table| !matches!(table, Table::Churn | Table::Event))
    };
    let destinations = || vec![Destination::copy(), Destination::lake()];
    let narrow = destinations()
        .into_iter()
        .map(|d| d.seeing(View::of_tables(first())))
        .collect();
    let mut site = small_site(
        run,
        Layout {
            tables: first().collect(),
            ..Layout::of(narrow)
        },
    );
    site.start_writer(RATE)?;
    run_for_a_commit(&mut site)?;
    site.set_layout(Layout::of(destinations()))?;
    kill_at_random(&mut site, &mut rng, kills)?;
    site.finish("");
    Ok(())
}

#[test]
fn kill_while_a_destination_is_added_leaves_a_prefix() -> io::Result<()> {
    let run = Run::begin("kill_while_a_destination_is_added_leaves_a_prefix", planned(50));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(50));
    let mut site = small_site(run, Layout::of(vec![Destination::copy()]));
    site.start_writer(RATE)?;
    run_for_a_commit(&mut site)?;
    let second = Destination {
        name: "second",
        ..Destination::copy()
    };
    site.set_layout(Layout::of(vec![Destination::copy(), Destination::lake(), second]))?;
    kill_at_random(&mut site, &mut rng, kills)?;
    site.finish("");
    Ok(())
}

#[test]
fn kill_while_a_stream_is_resynced_leaves_a_prefix() -> io::Result<()> {
    let run = Run::begin("kill_while_a_stream_is_resynced_leaves_a_prefix", planned(50));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(50));
    let mut site = small_site(run, Layout::of(vec![Destination::copy(), Destination::lake()]));
    site.start_writer(RATE)?;
    run_for_a_commit(&mut site)?;
    for kill in 0..kills as usize {
        let mut runtime = site.start()?;
        wait_for_commit(&mut site, &mut runtime);
        let table = [Table::Churn, Table::Account, Table::Event, Table::Pair][kill % 4];
        let destination = ["copy", "lake"][(kill / 4) % 2];
        site.expect_command(&[
            "resync",
            "shop",
            "--stream",
            table.name(),
            "--destination",
            destination,
            "--yes",
        ])?;
        std::thread::sleep(Duration::from_millis(rng.random_range(1..=300)));
        runtime.kill()?;
        site.run.did();
        site.look();
    }
    site.finish("");
    Ok(())
}

fn run_for_a_commit(site: &mut Site) -> io::Result<()> {
    let mut runtime = site.start()?;
    wait_for_commit(site, &mut runtime);
    runtime.kill()?;
    site.look();
    Ok(())
}
