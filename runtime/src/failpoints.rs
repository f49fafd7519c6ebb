//! Named points at which the process kills itself, for tests that want a crash exactly there.
//!
//! `HIGHWATER_FAILPOINT=NAME:NTH[,NAME:NTH...]`: the process gets `SIGKILL` when it comes to `NAME` for the `NTH` time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codes;
use crate::exit::Failure;

const VARIABLE: &str = "HIGHWATER_FAILPOINT";

/// Every fail-point of every crate.
pub(crate) fn names() -> Vec<&'static str> {
    let lists: [&[&'static str]; 5] = [
        actors::FAIL_POINTS,
        state::FAIL_POINTS,
        files::FAIL_POINTS,
        sqlite::FAIL_POINTS,
        cloudquery::FAIL_POINTS,
    ];
    let lists = lists.into_iter().chain(postgres::FAIL_POINTS);
    let mut names: Vec<_> = lists.flatten().copied().collect();
    names.sort_unstable();
    names
}

/// Arms what the environment names. Dropping the scenario disarms it.
pub(crate) fn arm() -> Result<Option<fail::FailScenario<'static>>, Failure> {
    let Some(wanted) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let wanted = wanted.to_string_lossy().into_owned();
    let scenario = fail::FailScenario::setup();
    for point in wanted.split(',').filter(|point| !point.is_empty()) {
        let (name, nth) = parse(point).map_err(|message| {
            Failure::input(codes::E0729.id, message).hint("`highwater failpoints` lists the names")
        })?;
        let hits = AtomicU64::new(0);
        fail::cfg_callback(name, move || {
            if hits.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                die();
            }
        })
        .map_err(|error| Failure::input(codes::E0729.id, format!("cannot arm fail-point `{name}`")).caused_by(error))?;
    }
    Ok(Some(scenario))
}

fn parse(point: &str) -> Result<(&str, u64), String> {
    let (name, nth) = point
        .rsplit_once(':')
        .ok_or_else(|| format!("cannot read fail-point `{point}`: expected `NAME:NTH`"))?;
    let nth = nth.parse().ok().filter(|nth| *nth > 0);
    let nth =
        nth.ok_or_else(|| format!("cannot read fail-point `{point}`: expected a number from 1 behind the colon"))?;
    if !names().contains(&name) {
        return Err(format!("cannot arm fail-point `{name}`: there is none of that name"));
    }
    Ok((name, nth))
}

/// As `kill -9` from outside: no destructor runs, no buffer is written.
fn die() {
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal is on its way; nothing after this point may happen.
    loop {
        if killed.is_err() {
            std::process::abort();
        }
        std::thread::park();
    }
}
