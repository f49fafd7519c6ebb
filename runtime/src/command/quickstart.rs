//! `highwater quickstart`: a demo database that keeps changing, and what becomes of it.

mod shop;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use super::run::{not_caught_up, start};
use super::sync::{Watcher, validated, watch};
use super::{Cx, serve};
use crate::cli::QuickstartArgs;
use crate::codes;
use crate::configuration::{Configuration, SOCKET};
use crate::exit::{Ended, Exit, Failure};
use crate::http::Listen;
use crate::running::{Options, Running, Session};
use crate::signals::Signals;
use crate::terminal::{Terminal, figures};
use shop::{Shop, Writer};

const CONFIG: &str = include_str!("quickstart/highwater.yaml");

pub(super) async fn quickstart(cx: &Cx, args: QuickstartArgs) -> Ended {
    let mut signals = Signals::listen()?;
    let started = Instant::now();
    let dir = args.dir.as_path();
    let demo = Demo::make(cx, dir, args.ephemeral)?;
    let mut configuration = Configuration::read(&cx.global, &[dir.join("highwater.yaml")]);
    cx.log_quietly(Some(&configuration.loaded));
    let plan = configuration.plan(&cx.terminal, cx.name)?.clone();
    crate::metrics::install(plan.runtime.stream_labels);
    let destinations = plan.pipelines.iter().map(|pipeline| pipeline.destinations.len()).sum();
    cx.terminal.step(
        "Validated",
        validated(plan.pipelines.len(), destinations, configuration.elapsed),
    );

    let state_dir = configuration.state_dir(&plan);
    let port = args.port.unwrap_or(config::LISTEN.port());
    let admin = Listen {
        tcp: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        any_port: args.port.is_none(),
        token: None,
        socket: state_dir.join(SOCKET),
    };
    let options = Options {
        state_dir,
        take_over: false,
        once: false,
        admin: Some(admin),
    };
    let blueprints = configuration.blueprints(&[])?;
    let mut session = start(cx, &mut configuration, blueprints, options).await?;
    let writer = Writer::start(demo.shop.clone(), args.rows_per_second)?;

    let scene = Scene {
        terminal: cx.terminal.clone(),
        running: session.running().clone(),
        address: session.address(),
        rows_per_second: args.rows_per_second,
    };
    let beside = scene.show(&plan, dir);
    let finish = serve::until_finished(&mut session, &mut signals, None, beside).await?;
    let written = writer.stop();
    let before = session.running().status();
    match finish {
        serve::Finish::Refused(refusals) => {
            let stop = cx.say_refusals(refusals);
            session.drain().await;
            session.close().await;
            return Err(stop);
        }
        serve::Finish::Ended => {
            session.close().await;
            cx.say_failure(&not_caught_up(Exit::Failed, &before));
            return Ok(Exit::Failed);
        }
        serve::Finish::Asked | serve::Finish::CaughtUp => {}
    }
    let ended = end(cx, session, signals, started, &demo).await?;
    written?;
    Ok(ended)
}

/// Drains, and says where everything is.
async fn end(cx: &Cx, mut session: Session, signals: Signals, started: Instant, demo: &Demo<'_>) -> Ended {
    let limit = session.drain_max().as_secs();
    cx.terminal.step("Draining", format!("shop (limit {limit} s)"));
    let draining = Instant::now();
    serve::drain(&mut session, signals).await?;
    let running = session.running().clone();
    session.close().await;
    let elapsed = figures::seconds(draining.elapsed().as_secs_f64());
    cx.terminal
        .step("Stopped", format!("shop in {elapsed}; {}", checkpoints(&running)));
    let rows: u64 = running.status().iter().map(|pipeline| pipeline.source.rows).sum();
    let rows = format!(
        "{} in {}",
        figures::counted(rows as usize, "row"),
        figures::seconds(started.elapsed().as_secs_f64())
    );
    if demo.is_ephemeral {
        cx.terminal.step("Finished", rows);
    } else {
        let dir = demo.dir.display();
        cx.terminal.step(
            "Finished",
            format!("{rows}. Files are in {dir}; `highwater run -c {dir}` goes on"),
        );
    }
    Ok(Exit::Done)
}

/// `checkpoint 1 412 on both destinations`, or each with its own.
fn checkpoints(running: &Running) -> String {
    let statuses = running.status();
    let destinations: Vec<_> = statuses.iter().flat_map(|pipeline| &pipeline.destinations).collect();
    let position = |d: &actors::DestinationStatus| {
        d.durable
            .values()
            .next()
            .map_or_else(|| "none".to_owned(), |order| figures::count(order.key()))
    };
    match destinations.as_slice() {
        [first, rest @ ..] if rest.iter().all(|other| other.durable == first.durable) => {
            format!("checkpoint {} on both destinations", position(first))
        }
        all => {
            let each: Vec<String> = all
                .iter()
                .map(|d| format!("{} {}", d.destination, position(d)))
                .collect();
            format!("checkpoints {}", each.join(", "))
        }
    }
}

/// What the demo shows while it runs.
struct Scene {
    terminal: Terminal,
    running: Running,
    address: Option<SocketAddr>,
    rows_per_second: u32,
}

impl Scene {
    /// Introduces itself once the first rows are there, then lets the progress line move.
    async fn show(self, plan: &config::Plan, dir: &Path) -> Infallible {
        let mut watcher = Watcher::new(&self.terminal);
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        while self
            .running
            .status()
            .iter()
            .any(|pipeline| pipeline.state != actors::PipelineState::Live)
        {
            interval.tick().await;
            watcher.look(&self.running);
        }
        watcher.look(&self.running);
        for pipeline in &plan.pipelines {
            self.introduce(pipeline);
        }
        let (dir, rows) = (dir.display(), self.rows_per_second);
        self.terminal.say(format!(
            "\n  A script is changing {rows} rows per second. Try in another terminal:"
        ));
        self.terminal.say(format!("    highwater status -c {dir}"));
        self.terminal.say(format!(
            "    highwater resync shop --stream orders --destination copy -c {dir}"
        ));
        self.terminal
            .say(format!("    sqlite3 {dir}/copy.db 'select count(*) from orders'\n"));
        watch(watcher, self.running).await
    }

    fn introduce(&self, pipeline: &config::PipelinePlan) {
        let to = pipeline
            .destinations
            .iter()
            .map(|d| format!("{} ({})", d.name, d.connector))
            .collect::<Vec<_>>();
        let address = self
            .address
            .map(|address| format!("      http://{address}"))
            .unwrap_or_default();
        let (name, from) = (&pipeline.name, &pipeline.source.connector);
        self.terminal
            .step("Streaming", format!("{name}: {from} → {}{address}", to.join(", ")));
    }
}

/// The directory of the demo.
struct Demo<'a> {
    dir: &'a Path,
    shop: Shop,
    is_ephemeral: bool,
}

impl<'a> Demo<'a> {
    /// Makes it, or goes on with what an earlier run left.
    fn make(cx: &Cx, dir: &'a Path, is_ephemeral: bool) -> Result<Demo<'a>, Failure> {
        let (database, config) = (dir.join("shop.db"), dir.join("highwater.yaml"));
        let is_there = database.exists() && config.exists();
        let is_empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
        if !is_there && !is_empty {
            return Err(Failure::input(
                codes::E0730.id,
                format!("cannot use `{}`: it holds something else", dir.display()),
            )
            .hint("name another directory with `--dir`"));
        }
        if is_there && is_ephemeral {
            return Err(Failure::input(
                codes::E0730.id,
                format!("cannot use `{}`: it is there already", dir.display()),
            )
            .hint("without `--ephemeral` it goes on with it; or name another directory with `--dir`"));
        }
        let shop = Shop::at(database.clone());
        // From here on it is ours to delete.
        let demo = Demo {
            dir,
            shop,
            is_ephemeral,
        };
        if is_there {
            let rows = demo.shop.row_count()?;
            cx.terminal.step(
                "Found",
                format!("{} ({})", database.display(), figures::counted(rows as usize, "row")),
            );
            return Ok(demo);
        }
        let unwritable = |error: std::io::Error| {
            Failure::environment(codes::E0731.id, format!("cannot write to `{}`", dir.display()))
                .caused_by(error)
                .hint("name another directory with `--dir`")
        };
        std::fs::create_dir_all(dir).map_err(unwritable)?;
        let rows = demo.shop.create()?;
        cx.terminal.step(
            "Created",
            format!(
                "{} (3 tables, {})",
                database.display(),
                figures::counted(rows as usize, "row")
            ),
        );
        std::fs::write(&config, CONFIG).map_err(unwritable)?;
        cx.terminal.step("Created", config.display().to_string());
        Ok(demo)
    }
}

impl Drop for Demo<'_> {
    fn drop(&mut self) {
        if self.is_ephemeral {
            // What cannot be deleted is in plain sight.
            let _ = std::fs::remove_dir_all(self.dir);
        }
    }
}
