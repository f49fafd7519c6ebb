//! How a command ends: its exit code, and the one failure that ended it.

use std::process::ExitCode;

use api::Retry;
use state::StateError;

/// The exit codes that scripts rely on. 130 and 143 belong to the second signal, in [`signals`](crate::signals).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: it failed while running.
    Failed,
    /// 2: the input is wrong.
    Input,
    /// 3: the environment is wrong.
    Environment,
    /// 4: the check ran; its answer is no.
    No,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Input => 2,
            Exit::Environment => 3,
            Exit::No => 4,
        }
    }

    /// With several findings the worst wins, in the order 3 > 2 > 1 > 4.
    pub(crate) fn worst(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Failed => 2,
            Exit::Input => 3,
            Exit::Environment => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// What a failure before anything runs means.
    pub(crate) fn of(retry: Retry) -> Exit {
        match retry {
            Retry::After | Retry::Operator | Retry::Fenced => Exit::Environment,
            Retry::Never => Exit::Input,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// The stable code.
    pub(crate) code: &'static str,
    /// The whole chain on one line.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

/// What keeps a command from its work.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Everything was said; only the exit code is left.
    Said(Exit),
    /// To be said by whoever started the command.
    Failed(Failure),
}

/// What a command answers: how it ended by itself, or what kept it from its work.
pub(crate) type Ended = Result<Exit, Stop>;

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<Exit> for Stop {
    fn from(exit: Exit) -> Self {
        Stop::Said(exit)
    }
}

impl From<api::Error> for Stop {
    fn from(error: api::Error) -> Self {
        Stop::Failed(error.into())
    }
}

impl From<StateError> for Stop {
    fn from(error: StateError) -> Self {
        Stop::Failed(error.into())
    }
}

impl Failure {
    /// Something is wrong with what the user gave.
    pub(crate) fn input(code: &'static str, message: impl Into<String>) -> Self {
        Failure::new(Exit::Input, code, message)
    }

    /// Something is wrong around the process.
    pub(crate) fn environment(code: &'static str, message: impl Into<String>) -> Self {
        Failure::new(Exit::Environment, code, message)
    }

    fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Failure {
            exit,
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the system said.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl std::fmt::Display) -> Self {
        self.message.push_str(&format!(": {cause}"));
        self
    }
}

impl From<api::Error> for Failure {
    fn from(error: api::Error) -> Self {
        let hint = error.remedy().map(str::to_owned);
        Failure {
            exit: Exit::of(error.retry()),
            code: error.code(),
            message: error.chain(),
            hint,
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Failure {
            exit: Exit::Environment,
            code: error.code(),
            message: chain(&error),
            hint: error.hint(),
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_exit_is_environment_then_input_then_failed_then_no() {
        let order = [Exit::Done, Exit::No, Exit::Failed, Exit::Input, Exit::Environment];
        for (at, worse) in order.iter().enumerate() {
            for better in &order[..=at] {
                assert_eq!(better.worst(*worse), *worse);
                assert_eq!(worse.worst(*better), *worse);
            }
        }
    }
}
