//! `kill -9` at random moments.

use std::io;

use highwater_chaos_tests::drill::kill_at_random;
use highwater_chaos_tests::scale::{Run, is_full, planned};
use highwater_chaos_tests::shop::Table;
use highwater_chaos_tests::site::{Destination, Layout};
use highwater_chaos_tests::value::Value;
use highwater_chaos_tests::view::View;
use highwater_chaos_tests::workload::Profile;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{RATE, site, small_site};

#[test]
fn random_kill_leaves_a_prefix_and_ends_equal() -> io::Result<()> {
    let run = Run::begin("random_kill_leaves_a_prefix_and_ends_equal", planned(150));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(150));
    let mut site = small_site(run, Layout::of(vec![Destination::copy(), Destination::lake()]));
    site.start_writer(RATE)?;
    kill_at_random(&mut site, &mut rng, kills)?;
    site.finish("");
    Ok(())
}

/// Before the spool: accounts in debt are left out, and a column of bytes. At the lake alone: one worker's events.
#[test]
fn random_kill_leaves_a_prefix_behind_transformers() -> io::Result<()> {
    let run = Run::begin("random_kill_leaves_a_prefix_behind_transformers", planned(150));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(150));
    let common = || {
        View::whole()
            .only(Table::Account, |row| row[1] >= Value::Int(0))
            .dropping(Table::Churn, &["bytes"])
            .renaming(Table::Counter, "n", "count")
    };
    let lake = common()
        .only(Table::Event, |row| row[0] == Value::Int(1))
        .dropping(Table::Pair, &["note"]);
    let layout = Layout {
        chain: CHAIN,
        ..Layout::of(vec![
            Destination::copy().seeing(common()),
            Destination::lake().seeing(lake).with(LAKE_FIELDS),
        ])
    };
    let mut site = small_site(run, layout);
    site.start_writer(RATE)?;
    kill_at_random(&mut site, &mut rng, kills)?;
    site.finish("");
    Ok(())
}

const CHAIN: &str = "[\
    { connector: filter, spec: { streams: { account: { where: { column: balance, ge: 0 } } } } }, \
    { connector: select, spec: { streams: { churn: { drop: [bytes] }, counter: { rename: { n: count } } } } }]";
const LAKE_FIELDS: &str = "write: append, batch: { wait_max: 150ms }, transformers: [\
    { connector: filter, spec: { streams: { event: { where: { column: worker, eq: 1 } } } } }, \
    { connector: select, spec: { streams: { pair: { drop: [note] } } } }]";

/// Large enough that a read takes many kills.
#[test]
fn kill_during_the_first_read_leaves_pages_of_one_state() -> io::Result<()> {
    let run = Run::begin("kill_during_the_first_read_leaves_pages_of_one_state", planned(50));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(50));
    let profile = Profile {
        rows_at_start: if is_full() { 400_000 } else { 60_000 },
        ..Profile::small(run.seed)
    };
    let mut site = site(run, profile, Layout::of(vec![Destination::copy(), Destination::lake()]));
    site.start_writer(RATE)?;
    kill_at_random(&mut site, &mut rng, kills)?;
    site.finish("");
    Ok(())
}
