//! `highwater plugin`: connectors as plugins of CloudQuery's protocol, ours and those of others.

mod new;
mod serve;

pub(super) use new::new;
pub(super) use serve::serve;
