//! The commands, one file each, and what they have in common.

mod completion;
mod explain;
mod forget;
mod init;
mod migrate;
mod plugin;
mod quickstart;
#[cfg(test)]
mod reference;
mod resync;
mod run;
mod schema;
mod serve;
mod state;
mod status;
mod streams;
mod sync;
mod test_connection;
mod validate;
mod verify;
mod version;

use std::process::ExitCode;

use crate::cli::{Cli, Command, Global, PluginCommand};
use crate::codes;
use crate::configuration::Configuration;
use crate::envelope::Envelope;
use crate::exit::{Ended, Exit, Failure, Stop};
use crate::logging::{self, Wish};
use crate::terminal::Terminal;

/// What every command gets.
pub(crate) struct Cx {
    /// The options of every command.
    pub(crate) global: Global,
    /// Where to talk.
    pub(crate) terminal: Terminal,
    /// What was typed.
    pub(crate) name: &'static str,
}

/// Runs a command to its exit code.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let terminal = Terminal::new(&cli.global);
    let cx = Cx {
        terminal,
        name: cli.command.name(),
        global: cli.global,
    };
    match dispatch(&cx, cli.command) {
        Ok(exit) | Err(Stop::Said(exit)) => exit.into(),
        Err(Stop::Failed(failure)) => {
            cx.say_failure(&failure);
            failure.exit.into()
        }
    }
}

fn dispatch(cx: &Cx, command: Command) -> Ended {
    #[cfg(feature = "failpoints")]
    let _armed = crate::failpoints::arm()?;
    match command {
        Command::Quickstart(args) => cx.block_on(quickstart::quickstart(cx, args)),
        Command::Init(args) => cx.block_on(init::init(cx, args)),
        Command::Validate(args) => validate::validate(cx, &args),
        Command::Run(args) => cx.block_on(run::run(cx, args)),
        Command::Sync(args) => cx.block_on(sync::sync(cx, args)),
        Command::Migrate(args) => cx.block_on(migrate::migrate(cx, args)),
        Command::TestConnection(args) => cx.block_on(test_connection::test_connection(cx, args)),
        Command::Streams(args) => cx.block_on(streams::streams(cx, args)),
        Command::Status(args) => cx.block_on(status::status(cx, args)),
        Command::Resync(args) => cx.block_on(resync::resync(cx, args)),
        Command::Verify(args) => cx.block_on(verify::verify(cx, args)),
        Command::Forget(args) => cx.block_on(forget::forget(cx, args)),
        Command::Plugin(PluginCommand::Serve(args)) => cx.block_on(plugin::serve(cx, args)),
        Command::Plugin(PluginCommand::New(args)) => plugin::new(cx, args),
        Command::Plugin(PluginCommand::List) => plugin::list(cx),
        Command::Plugin(PluginCommand::Install(args)) => cx.block_on(plugin::install(cx, args)),
        Command::Plugin(PluginCommand::Check(args)) => cx.block_on(plugin::check(cx, args)),
        Command::State(command) => state::state(cx, &command),
        Command::Schema(args) => schema::schema(cx, &args),
        Command::Explain(args) => explain::explain(cx, &args),
        Command::Completion(args) => completion::completion(&args),
        Command::Version => version::version(cx),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => {
            crate::failpoints::names()
                .iter()
                .for_each(|name| cx.terminal.answer(name));
            Ok(Exit::Done)
        }
    }
}

impl Cx {
    /// Runs an asynchronous command.
    fn block_on(&self, work: impl Future<Output = Ended>) -> Ended {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::environment(codes::E0731.id, "cannot start the worker threads").caused_by(error)
            })?;
        let ended = runtime.block_on(Box::pin(work));
        // A thread that is stuck in a system call must not keep the process from its end.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        ended
    }

    /// Logs only what went wrong: for commands whose screen is the conversation.
    fn log_quietly(&self, loaded: Option<&config::Loaded>) {
        let secrets = loaded.map(|loaded| loaded.secrets.clone()).unwrap_or_default();
        logging::start(&self.global, &self.terminal, Wish::QUIET, secrets);
    }

    /// Prints an answer in the envelope.
    fn answer_json(&self, is_ok: bool, result: serde_json::Value) {
        self.terminal
            .answer(Envelope::result(self.name, is_ok, result).render());
    }

    /// Prints an answer in the envelope, with what was found in the configuration.
    fn answer_findings(&self, is_ok: bool, configuration: &Configuration, result: serde_json::Value) {
        let envelope = Envelope {
            summary: Some(configuration.loaded.summary(configuration.elapsed)),
            findings: configuration.loaded.findings(),
            ..Envelope::result(self.name, is_ok, result)
        };
        self.terminal.answer(envelope.render());
    }

    /// Says what went wrong with a part of the configuration, beside an answer.
    fn say_error(&self, name: &str, error: &api::Error) {
        let code = self.terminal.paint_err().bad(&format!("error[{}]:", error.code()));
        let hint = error
            .remedy()
            .map(|hint| format!("\n  hint: {hint}"))
            .unwrap_or_default();
        self.terminal
            .complain(format!("{code} {name}: {}{hint}", error.chain()));
    }

    fn say_failure(&self, failure: &Failure) {
        if self.terminal.is_json() {
            self.terminal.answer(Envelope::failure(self.name, failure).render());
            return;
        }
        let paint = self.terminal.paint_err();
        let mut text = format!(
            "{} {}",
            paint.bad(&format!("error[{}]:", failure.code)),
            failure.message
        );
        if let Some(hint) = failure.hint.as_deref().filter(|hint| !hint.is_empty()) {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        self.terminal.complain(text);
    }

    /// Asks before something is changed; `--yes` is the answer where nobody can be asked.
    fn confirm(&self, question: &str) -> Result<(), Stop> {
        if self.global.yes {
            return Ok(());
        }
        if !self.terminal.can_ask() {
            return Err(
                Failure::input(codes::E0724.id, "cannot ask whether to go on: there is no terminal")
                    .hint("add `--yes` to do it, after reading the plan above")
                    .into(),
            );
        }
        let answer = self.terminal.confirm(question);
        match answer
            .map_err(|error| Failure::environment(codes::E0731.id, "cannot read the answer").caused_by(error))?
        {
            true => Ok(()),
            false => {
                self.terminal.say("Nothing was changed.");
                Err(Stop::Said(Exit::Input))
            }
        }
    }
}
