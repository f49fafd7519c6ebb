//! The drill with PostgreSQL as the source and as one of three destinations. See the crate's own documentation for how it
//! knows what is right.
//!
//! A tenth of it by default; `HIGHWATER_CHAOS=full` for the whole: then the runtime is killed more than 500 times. Each test
//! prints its seed, what it planned and what it did, and the command that repeats it. Without PostgreSQL on this machine the
//! tests say what is missing, and do nothing.

mod connections;
mod fail_points;
mod kills;
mod large;
mod planted;
mod restarts;
mod verify;
mod zombies;

use highwater_chaos_tests::postgres::site::Site;
use highwater_chaos_tests::scale::{Run, say};
use highwater_chaos_tests::workload::Profile;

/// The application that writes to the source.
const WRITER: &str = env!("CARGO_BIN_EXE_chaos-postgres-writer");

/// Transactions a second. Each changes about five rows.
const RATE: f64 = 100.0;

/// A site whose tables are small, and whose history has large transactions now and then.
fn small_site(run: Run) -> Option<Site> {
    let profile = Profile {
        // Odd, so that batches go by TRUNCATE and by DELETE in turn.
        bulk_every: 201,
        bulk_rows: 8_000,
        ..Profile::small(run.seed)
    };
    site(run, profile)
}

/// `None` if this machine has no PostgreSQL.
fn site(run: Run, profile: Profile) -> Option<Site> {
    match Site::new(run, WRITER, profile) {
        Ok(Ok(site)) => Some(site),
        Ok(Err(missing)) => {
            say(&format!("skipped: {missing}"));
            None
        }
        Err(error) => panic!("cannot make a site: {error}"),
    }
}
