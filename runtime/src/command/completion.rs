//! `highwater completion`

use clap::CommandFactory;

use crate::cli::{Cli, CompletionArgs};
use crate::exit::{Ended, Exit};

pub(super) fn completion(args: &CompletionArgs) -> Ended {
    clap_complete::generate(args.shell, &mut Cli::command(), "highwater", &mut std::io::stdout());
    Ok(Exit::Done)
}
