//! What this binary was built from.

/// The version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit of a release build, where there was one to see.
pub(crate) const COMMIT: &str = env!("HIGHWATER_COMMIT");
/// The compiler.
pub(crate) const RUSTC: &str = env!("HIGHWATER_RUSTC");
