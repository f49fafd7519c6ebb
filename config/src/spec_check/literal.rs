//! Secrets that stand in the file as they are.

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::pointer;
use crate::secrets::url_password;
use crate::sources::Span;
use crate::suggest::quoted;
use crate::tree::{Node, Origin, Scalar};
use crate::typed::Item;

/// Looks after a text that may be a secret; whether it is one.
///
/// A literal in a field marked secret, or a password inside a URL in any field, is a warning and is masked in snippets.
pub(crate) fn check_secret(
    item: &Item<'_>,
    scalar: &Scalar,
    is_marked: bool,
    component: &str,
    cx: &mut Context,
) -> bool {
    let password = url_password(&scalar.text);
    if scalar.origin == Origin::Secret {
        return true;
    }
    if scalar.text.is_empty() || (password.is_none() && !is_marked) {
        return false;
    }
    // A URL that could hold a password and holds none: kept out of sight all the same, but nothing to warn of.
    if password.is_none() && scalar.text.contains("://") {
        return true;
    }
    let (start, end) = password.unwrap_or((0, scalar.text.len()));
    cx.secrets.register(&scalar.text[start..end]);
    if scalar.origin != Origin::Literal {
        return true;
    }
    let span = within(item.node, &scalar.text, start, end, cx);
    cx.masked.push(span);
    let what = if password.is_some() {
        "password".to_owned()
    } else {
        quoted(&pointer::last(&item.pointer))
    };
    let finding = Finding::warning(&codes::W0110, format!("{what} in plain text"))
        .at(cx.place(span), "put it in a secret")
        .path(item.pointer.clone())
        .hint(format!("`${{secret:file:/run/secrets/{component}}}`"));
    cx.report(finding);
    true
}

/// The span of a part of a scalar's text; the whole scalar if escapes make that unknowable.
fn within(node: &Node, text: &str, start: usize, end: usize, cx: &Context) -> Span {
    let raw = cx.sources.slice(node.span);
    let Some(offset) = raw.find(text) else { return node.span };
    let base = node.span.start + offset as u32;
    Span {
        start: base + start as u32,
        end: base + end as u32,
        ..node.span
    }
}
