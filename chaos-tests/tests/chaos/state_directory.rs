//! The state directory is a hint: destinations that keep their own checkpoint do without it.

use std::io;
use std::path::Path;

use highwater_chaos_tests::drill::kill_at_random;
use highwater_chaos_tests::scale::{Run, planned};
use highwater_chaos_tests::site::{Destination, Layout};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{RATE, small_site};

/// Two kills between two deletions: with state that is a little old, and with none.
#[test]
fn deleted_state_directory_loses_and_doubles_nothing() -> io::Result<()> {
    let run = Run::begin("deleted_state_directory_loses_and_doubles_nothing", planned(50));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(50));
    let mut site = small_site(run, Layout::of(vec![Destination::copy(), Destination::lake()]));
    site.start_writer(RATE)?;
    for _ in 0..kills.div_ceil(2) {
        kill_at_random(&mut site, &mut rng, 2)?;
        std::fs::remove_dir_all(site.state_dir())?;
    }
    site.finish("");
    Ok(())
}

#[test]
fn old_state_directory_loses_and_doubles_nothing() -> io::Result<()> {
    let run = Run::begin("old_state_directory_loses_and_doubles_nothing", planned(50));
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(run.seed), planned(50));
    let mut site = small_site(run, Layout::of(vec![Destination::copy(), Destination::lake()]));
    site.start_writer(RATE)?;
    kill_at_random(&mut site, &mut rng, 2)?;
    let old = site.file("state.old");
    copy_directory(&site.state_dir(), &old)?;
    for _ in 0..kills.saturating_sub(2).div_ceil(2) {
        kill_at_random(&mut site, &mut rng, 2)?;
        std::fs::remove_dir_all(site.state_dir())?;
        copy_directory(&old, &site.state_dir())?;
    }
    site.finish("");
    Ok(())
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let place = to.join(entry.file_name());
        if kind.is_dir() {
            copy_directory(&entry.path(), &place)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
