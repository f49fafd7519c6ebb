//! One long sync of a source plugin that sends checkpoints, into a destination plugin that answers flushes: SQLite, served by us.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use highwater_chaos_tests::binary;
use highwater_chaos_tests::process::{Runtime, last_lines, wait_for, was_killed};
use highwater_chaos_tests::scale::{Run, planned, say};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use serde_json::json;
use test_systems::{Pipeline, processes_of, python};

use crate::site::{SYNC_MAX, kill_plugin};

const SOURCE: &str = "python-source.py";
/// By this name the binary is the plugin.
const DESTINATION: &str = "highwater-destination-sqlite";

/// Beyond the starts of both plugins and some commits, mostly, which are at least two seconds apart.
const DELAY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;
/// More than any drill comes to: the sync is one, and none of its parts ever ends by itself.
const WITHOUT_END: i64 = 100_000_000;

struct Site {
    run: Run,
    dir: tempfile::TempDir,
    /// How often the plugin has begun, as far as that was looked at.
    begins: usize,
}

impl Site {
    fn new(run: Run) -> io::Result<Option<Site>> {
        let dir = tempfile::tempdir()?;
        if let Err(missing) = python::Plugin::Source.install(dir.path()) {
            say(&format!("skipped: {missing}"));
            return Ok(None);
        }
        std::os::unix::fs::symlink(binary::path(), dir.path().join(DESTINATION))?;
        let site = Site { run, dir, begins: 0 };
        let copy = format!("{{ path: {} }}", site.file("copy.db").display());
        let pipeline = Pipeline::of("python-source")
            .option("incremental: true")
            .streams("events")
            .into_plugin("served", DESTINATION, &copy, &["batch: { wait_max: 100ms }"]);
        std::fs::write(site.file("highwater.yaml"), pipeline.to_string())?;
        Ok(Some(site))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The system has so many events; a checkpoint comes after every twentieth.
    fn events(&self, count: i64, pause: f64) -> io::Result<()> {
        let data = json!({"events": count, "checkpoint": 20, "pause": pause, "begins": self.file("begins")});
        std::fs::write(self.file("data.json"), data.to_string())
    }

    fn sync(&self) -> io::Result<Runtime> {
        Runtime::start(self.dir.path(), &self.file("runtime.log"), &["sync"], &[])
    }

    /// The ids that are there, in order; none before the table is made.
    fn rows(&self) -> io::Result<Vec<i64>> {
        if !self.file("copy.db").exists() {
            return Ok(Vec::new());
        }
        let read = || -> rusqlite::Result<Vec<i64>> {
            let copy = Connection::open(self.file("copy.db"))?;
            copy.busy_timeout(Duration::from_secs(20))?;
            let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'events'";
            if copy.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(Vec::new());
            }
            let mut statement = copy.prepare("SELECT id FROM events ORDER BY id")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(io::Error::other)
    }

    /// Where the plugin began, each time.
    fn begins(&self) -> Vec<i64> {
        let text = std::fs::read_to_string(self.file("begins")).unwrap_or_default();
        // The last line may be half a one.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// No cursor that the plugin was given was ahead of the rows, nor behind the one before.
    #[track_caller]
    fn cursors_are_behind_rows(&mut self) -> io::Result<()> {
        let begins = self.begins();
        let rows = self.rows()?;
        let whole = rows.iter().zip(0..).take_while(|(id, at)| *id == at).count() as i64;
        for at in self.begins..begins.len() {
            if begins[at] > whole {
                self.fail(&format!(
                    "the plugin went on at {}, and only {whole} rows are there without a hole",
                    begins[at]
                ));
            }
            if at > 0 && begins[at] < begins[at - 1] {
                self.fail(&format!(
                    "the plugin went on at {} after {}",
                    begins[at],
                    begins[at - 1]
                ));
            }
            self.run.checked(1);
        }
        self.begins = begins.len();
        Ok(())
    }

    #[track_caller]
    fn ends_with(&mut self, count: i64) -> io::Result<()> {
        match self.sync()?.wait(SYNC_MAX)? {
            Some(status) if status.success() => {}
            other => self.fail(&format!("the sync ended with {other:?}")),
        }
        self.cursors_are_behind_rows()?;
        let rows = self.rows()?;
        if !rows.iter().copied().eq(0..count) {
            let missing = (0..count).zip(&rows).find(|(id, found)| id != *found);
            self.fail(&format!(
                "{} rows of {count}; first that differs: {missing:?}",
                rows.len()
            ));
        }
        self.run.checked(1);
        Ok(())
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let words = last_lines(&self.file("runtime.log"), 40);
        panic!(
            "{what}\n  again: {}\n  the runtime's last words:\n{words}",
            self.run.command()
        )
    }
}

#[test]
fn long_sync_killed_on_either_side_goes_on_from_its_checkpoints_and_ends_equal() -> io::Result<()> {
    let kills = planned(100);
    let run = Run::begin(
        "long_sync_killed_on_either_side_goes_on_from_its_checkpoints_and_ends_equal",
        kills,
    );
    let mut rng = ChaCha8Rng::seed_from_u64(run.seed);
    let Some(mut site) = Site::new(run)? else {
        return Ok(());
    };
    site.events(WITHOUT_END, 0.02)?;
    let mut killed = [0_u32; 3];
    while killed.iter().sum::<u32>() < kills {
        let mut runtime = site.sync()?;
        while killed.iter().sum::<u32>() < kills {
            let delay = Duration::from_millis(rng.random_range(DELAY_MS));
            match runtime.wait(delay)? {
                None => {}
                // Three tries in a row that came to no checkpoint.
                Some(status) if status.code() == Some(1) => break,
                Some(status) => site.fail(&format!("the sync ended with {status}")),
            }
            let victim = rng.random_range(0..killed.len());
            let is_dead = match victim {
                0 => wait_for(Duration::from_secs(1), || {
                    kill_plugin(site.dir.path(), SOURCE).then_some(())
                })
                .is_some(),
                1 => wait_for(Duration::from_secs(1), || {
                    kill_plugin(site.dir.path(), DESTINATION).then_some(())
                })
                .is_some(),
                _ => was_killed(runtime.kill()?),
            };
            if is_dead {
                killed[victim] += 1;
                site.run.did();
            }
            site.cursors_are_behind_rows()?;
            if victim == 2 {
                break;
            }
        }
        drop(runtime);
        let gone = wait_for(Duration::from_secs(20), || {
            processes_of(site.dir.path()).is_empty().then_some(())
        });
        if gone.is_none() {
            site.fail(&format!("plugins run on: {:?}", processes_of(site.dir.path())));
        }
        site.cursors_are_behind_rows()?;
    }
    // The rest of it, and one more on top.
    let count = site.rows()?.len() as i64 + 500;
    site.events(count, 0.0)?;
    site.ends_with(count)?;
    site.events(count + 100, 0.0)?;
    site.ends_with(count + 100)?;
    let begins = site.begins();
    if begins.last() != Some(&count) {
        site.fail(&format!(
            "a sync after the complete one began at {:?}, not {count}",
            begins.last()
        ));
    }
    let ahead = begins.windows(2).filter(|two| two[0] < two[1]).count();
    let note = format!(
        "source {}, destination {}, runtime {} times; begun {} times, {ahead} of them further on; {count} rows",
        killed[0],
        killed[1],
        killed[2],
        begins.len()
    );
    // A drill in which nothing came forward would have shown nothing.
    assert!(ahead as u32 >= kills / 4, "{note}");
    site.run.end(&note);
    Ok(())
}
