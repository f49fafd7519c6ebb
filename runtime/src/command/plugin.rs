//! `highwater plugin`: connectors as plugins of CloudQuery's protocol, ours and those of others.

mod check;
mod install;
mod list;
mod new;
mod serve;

pub(super) use check::check;
pub(super) use install::install;
pub(super) use list::list;
pub(super) use new::new;
pub(super) use serve::serve;
