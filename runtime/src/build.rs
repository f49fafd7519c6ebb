//! What this binary was built from.

/// The version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, where the build was told of it.
pub(crate) const COMMIT: &str = match option_env!("HIGHWATER_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// The compiler.
pub(crate) const RUSTC: &str = env!("HIGHWATER_RUSTC");
