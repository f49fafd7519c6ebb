//! What the three roles promise, as public async functions: one per promise, run by every implementation.
//!
//! A connector's tests write a harness (how to make the connector, and how to look at its system from outside) and let a
//! macro make one test per promise:
//!
//! ```ignore
//! mod conformance {
//!     api::destination_conformance!(SqliteHarness::new());      // also: source_conformance!, transformer_conformance!
//! }
//! ```
//!
//! The harness expression runs once per promise, so each has a system of its own; it may use `.await`. What a connector
//! does not claim to do is skipped, and the reason printed. Programs that judge a connector at run time call
//! [`destination::run`], [`source::run`] or [`transformer::run`] and read the [`Report`].
//!
//! [`sample`] builds schemas, batches and changesets for a connector's own tests; [`Session`] drives a destination as the
//! runtime does.

use std::fmt;

pub mod destination;
pub mod sample;
mod session;
pub mod source;
pub mod text;
pub mod transformer;
pub mod type_cases;

pub use destination::DestinationHarness;
pub use session::Session;
pub use source::SourceHarness;
pub use text::{Row, rows_of, text_of};
pub use transformer::TransformerHarness;

/// What a harness fails with when it looks at its system.
pub type HarnessError = Box<dyn std::error::Error + Send + Sync>;

/// How a promise went: `Ok` is kept.
pub type Promise = Result<(), Unkept>;

/// Why a promise was not seen to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unkept {
    /// The connector does not claim it; why not.
    Skipped(String),
    /// It is broken; what was expected and what was seen.
    Broken(String),
}

impl Unkept {
    /// Not claimed.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Unkept::Skipped(reason.into())
    }

    /// Broken.
    pub fn broken(what: impl Into<String>) -> Self {
        Unkept::Broken(what.into())
    }
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unkept::Skipped(reason) => write!(f, "skipped: {reason}"),
            Unkept::Broken(what) => write!(f, "broken: {what}"),
        }
    }
}

/// An operation that should succeed did not.
impl From<crate::Error> for Unkept {
    fn from(error: crate::Error) -> Self {
        Unkept::Broken(format!("{error:?}"))
    }
}

impl From<HarnessError> for Unkept {
    fn from(error: HarnessError) -> Self {
        Unkept::Broken(format!("the harness failed: {error}"))
    }
}

impl From<arrow::error::ArrowError> for Unkept {
    fn from(error: arrow::error::ArrowError) -> Self {
        Unkept::Broken(format!("the suite failed: {error}"))
    }
}

/// Fails the promise unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Unkept::broken(format!($($message)+)));
        }
    };
}

/// Fails the promise unless both sides are equal, and prints both.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err($crate::conformance::Unkept::broken(format!(
                "{}\n  expected: {right:?}\n  got:      {left:?}",
                format_args!($($message)+)
            )));
        }
    }};
}

/// Skips the promise unless the condition holds.
macro_rules! require {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Unkept::skipped(format!($($reason)+)));
        }
    };
}

pub(crate) use {ensure, ensure_eq, require};

/// How every promise of a role went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name and outcome, in the order of the suite.
    pub promises: Vec<(&'static str, Promise)>,
}

impl Report {
    /// The broken ones.
    pub fn broken(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.promises.iter().filter_map(|(name, outcome)| match outcome {
            Err(Unkept::Broken(what)) => Some((*name, what.as_str())),
            _ => None,
        })
    }

    /// Whether none is broken.
    pub fn is_kept(&self) -> bool {
        self.broken().next().is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.promises {
            match outcome {
                Ok(()) => writeln!(f, "kept     {name}")?,
                Err(Unkept::Skipped(reason)) => writeln!(f, "skipped  {name}: {reason}")?,
                Err(Unkept::Broken(what)) => writeln!(f, "BROKEN   {name}: {what}")?,
            }
        }
        Ok(())
    }
}

/// For the generated tests: prints a skipped promise, panics on a broken one.
#[doc(hidden)]
pub fn settle(name: &str, outcome: Promise) {
    match outcome {
        Ok(()) => {}
        Err(Unkept::Skipped(reason)) => println!("skipped {name}: {reason}"),
        Err(Unkept::Broken(what)) => panic!("{name} is broken: {what}"),
    }
}

/// One test for each promise of a destination; the argument makes a [`DestinationHarness`].
#[macro_export]
macro_rules! destination_conformance {
    ($harness:expr) => {
        $crate::__destination_promises! { $crate::__promise_tests, destination, $harness }
    };
}

/// One test for each promise of a source; the argument makes a [`SourceHarness`].
#[macro_export]
macro_rules! source_conformance {
    ($harness:expr) => {
        $crate::__source_promises! { $crate::__promise_tests, source, $harness }
    };
}

/// One test for each promise of a transformer; the argument makes a [`TransformerHarness`].
#[macro_export]
macro_rules! transformer_conformance {
    ($harness:expr) => {
        $crate::__transformer_promises! { $crate::__promise_tests, transformer, $harness }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __promise_tests {
    ($role:ident, $harness:expr; $($promise:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let harness = $harness;
            let outcome = $crate::conformance::$role::$promise(&harness).await;
            $crate::conformance::settle(stringify!($promise), outcome);
        }
    )*};
}

/// The body of a role's `run`: every promise on a harness of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! __promise_run {
    ($role:ident, $make:expr; $($promise:ident)*) => {{
        let mut report = $crate::conformance::Report::default();
        $(
            let harness = $make().await;
            report.promises.push((stringify!($promise), Box::pin($promise(&harness)).await));
        )*
        report
    }};
}
