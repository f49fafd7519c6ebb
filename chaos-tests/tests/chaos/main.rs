//! The drill. See the crate's own documentation for how it knows what is right.
//!
//! A tenth of it by default; `HIGHWATER_CHAOS=full` for the whole. Each test prints its seed, what it planned and what it
//! did, and the command that repeats it.

mod backlog;
mod broken_inputs;
mod changes_of_plan;
mod fail_points;
mod isolation;
mod kills;
mod memory;
mod planted;
mod rivals;
mod state_directory;

use highwater_chaos_tests::scale::Run;
use highwater_chaos_tests::site::{Layout, Site};
use highwater_chaos_tests::workload::Profile;

/// The application that writes to the source.
const WRITER: &str = env!("CARGO_BIN_EXE_chaos-writer");

/// Transactions a second: a busy small shop. Each changes about five rows.
const RATE: f64 = 150.0;

/// A site whose tables are small, and whose history has large transactions now and then.
fn small_site(run: Run, layout: Layout) -> Site {
    let profile = Profile {
        bulk_every: 700,
        bulk_rows: 20_000,
        ..Profile::small(run.seed)
    };
    site(run, profile, layout)
}

fn site(run: Run, profile: Profile, layout: Layout) -> Site {
    Site::new(run, WRITER, profile, layout).unwrap_or_else(|error| panic!("cannot make a site: {error}"))
}
