//! A YAML text as a tree that forgets nothing: scalars keep their text and style, keys and values keep their spans.
//!
//! Constraints:
//! - no value is interpreted here: `NO` and `1.10` are texts until a reader knows what it wants;
//! - the tree of a hostile file stays small: [`SIZE_BYTES_MAX`], [`DEPTH_MAX`], [`ALIASES_MAX`] and [`NODES_MAX`] hold while
//!   it is being built, not after;
//! - what would make a value mean something else elsewhere (merge keys, tags, keys that are not text) is refused.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::codes;
use crate::context::Context;
use crate::finding::Finding;
use crate::sources::Span;
use crate::suggest::quoted;
use crate::syntax;

/// A configuration of a thousand tables is 100 KiB.
pub const SIZE_BYTES_MAX: usize = 1 << 20;
/// Lists and maps inside each other; ours need 8.
pub const DEPTH_MAX: usize = 64;
/// `*name` in one file. Each may stand for much, and for other aliases.
pub const ALIASES_MAX: usize = 64;
/// Scalars, lists and maps after aliases are written out.
pub const NODES_MAX: usize = 100_000;

/// A value with its span.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a value is, as far as the text alone says.
#[derive(Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A leaf.
#[derive(Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Without quotes: may be read as a number, a boolean or nothing.
    pub(crate) is_plain: bool,
    /// Text whatever it looks like and wherever it came from: what stands in quotes in CloudQuery's documents.
    pub(crate) is_text: bool,
    pub(crate) origin: Origin,
}

/// Where a scalar's text came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The file.
    Literal,
    /// The environment or another file, at least in part.
    Expanded,
    /// A `${secret:...}`, at least in part.
    Secret,
    /// It could not be expanded, which has been reported; whoever reads it stays silent.
    Failed,
}

/// A key with its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Node,
}

/// A key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Node {
    /// Nothing: an empty value, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.is_null(),
            _ => false,
        }
    }

    /// Whether a finding about this value has been reported already.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(
            &self.kind,
            Kind::Scalar(Scalar {
                origin: Origin::Failed,
                ..
            })
        )
    }

    /// What it is, for "found ...".
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Scalar(scalar) if scalar.is_null() => "nothing",
            Kind::Scalar(scalar) if !scalar.is_plain => "text",
            Kind::Scalar(scalar) => match scalar.text.as_str() {
                "true" | "false" => "a boolean",
                text if text.parse::<f64>().is_ok() && text.contains(|c: char| c.is_ascii_digit()) => "a number",
                _ => "text",
            },
        }
    }

    /// The entries, if it is a map.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key, if it is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.text == key)
    }

    /// Nodes in it, itself included, and its depth.
    fn measure(&self) -> (usize, usize) {
        let mut nodes = 1;
        let mut depth = 0;
        let mut add = |child: &Node| {
            let (child_nodes, child_depth) = child.measure();
            nodes += child_nodes;
            depth = depth.max(child_depth);
        };
        match &self.kind {
            Kind::Scalar(_) => return (1, 0),
            Kind::List(items) => items.iter().for_each(&mut add),
            Kind::Map(entries) => entries.iter().for_each(|entry| add(&entry.value)),
        }
        (nodes, depth + 1)
    }
}

impl Scalar {
    /// A text that somebody wrote as it is.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_plain: true,
            is_text: false,
            origin: Origin::Literal,
        }
    }

    /// Whether it may be read as a number or a boolean. In quotes it is text, unless it was expanded: `"${PORT}"` must be
    /// quotable inside brackets.
    pub(crate) fn is_bare(&self) -> bool {
        !self.is_text && (self.is_plain || self.origin != Origin::Literal)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.is_plain && self.origin == Origin::Literal && matches!(self.text.as_str(), "" | "~" | "null")
    }
}

/// Reads a value that came from elsewhere, all of which then stands at `span`. `None` if it is not YAML.
pub(crate) fn parse_value(text: &str, span: Span, origin: Origin, cx: &mut Context) -> Option<Node> {
    if text.len() > SIZE_BYTES_MAX {
        return None;
    }
    let mut builder = Builder {
        stands_at: Some(span),
        origin,
        ..Builder::new(span.file, text)
    };
    for event in Parser::new_from_str(text) {
        let (event, _) = event.ok()?;
        builder.event(event, span, cx).ok()?;
    }
    let mut documents = builder.documents.into_iter();
    documents.next().filter(|_| documents.len() == 0)
}

/// Reads all documents of a text. `None` if nothing could be made of it; the context has the findings.
pub(crate) fn parse(file: u32, cx: &mut Context) -> Option<Vec<Node>> {
    let sources = cx.sources;
    let text = sources.file(file).text.as_str();
    let mut builder = Builder::new(file, text);
    if text.len() > SIZE_BYTES_MAX {
        let message = format!(
            "file of {} bytes is too large: at most {SIZE_BYTES_MAX} are read",
            text.len()
        );
        let finding = Finding::error(&codes::E0102, message).hint("split it, and name each part with `--config`");
        cx.report(finding.at(sources.place(builder.span(0, 1)), ""));
        return None;
    }
    let masked = mask(text);
    let mut parser = Parser::new_from_str(&masked);
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, at))) => {
                let span = builder.span(at.start.index(), at.end.index());
                if let Err(stop) = builder.event(event, span, cx) {
                    cx.report(*stop);
                    return None;
                }
            }
            Some(Err(error)) => {
                let at = builder.span(error.marker().index(), error.marker().index() + 1);
                cx.report(syntax::finding(error.info(), at, sources));
                return None;
            }
        }
    }
    Some(builder.documents)
}

/// The braces of `${...}`, one character for one, so that places stay what they are: inside `[ ]` and `{ }` they would be a
/// map's. Whoever writes these characters himself gets no such help.
const BRACES: [(char, char); 2] = [('{', '\u{e000}'), ('}', '\u{e001}')];

/// The text with other braces around expressions.
fn mask(text: &str) -> Cow<'_, str> {
    if !text.contains("${") || text.contains(BRACES.map(|(_, mask)| mask)) {
        return Cow::Borrowed(text);
    }
    let [(_, open), (_, close)] = BRACES;
    let mut masked = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, expression, after)) = rest.find("${").and_then(|at| {
        let length = rest[at..].find(['}', '"', '\n'])?;
        Some((&rest[..at], &rest[at + 2..at + length], &rest[at + length..]))
    }) {
        masked.push_str(before);
        match after.strip_prefix('}') {
            Some(after) => {
                masked.extend(['$', open]);
                masked.push_str(expression);
                masked.push(close);
                rest = after;
            }
            // It is not closed on its line, or not before its text ends.
            None => {
                masked.push_str("${");
                masked.push_str(expression);
                rest = after;
            }
        }
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

fn unmask(text: Cow<'_, str>) -> String {
    if !text.contains(BRACES.map(|(_, mask)| mask)) {
        return text.into_owned();
    }
    BRACES.iter().fold(text.into_owned(), |text, (brace, mask)| {
        text.replace(*mask, &brace.to_string())
    })
}

/// A list or map that is still open.
struct Open {
    span: Span,
    anchor: usize,
    kind: Opened,
}

enum Opened {
    List(Vec<Node>),
    /// `seen` finds duplicates without searching: a hostile map has a hundred thousand keys.
    Map {
        entries: Vec<Entry>,
        key: Option<Key>,
        seen: HashMap<String, Span>,
    },
}

impl Opened {
    fn new_map() -> Self {
        Self::Map {
            entries: Vec::new(),
            key: None,
            seen: HashMap::new(),
        }
    }
}

struct Builder {
    file: u32,
    /// Byte offset of each character, for texts that are not ASCII: the parser counts characters.
    offsets: Option<Vec<u32>>,
    length: usize,
    stack: Vec<Open>,
    documents: Vec<Node>,
    anchors: HashMap<usize, Node>,
    node_count: usize,
    alias_count: usize,
    /// Where everything stands, if it is not the file's own text.
    stands_at: Option<Span>,
    origin: Origin,
}

impl Builder {
    fn new(file: u32, text: &str) -> Self {
        let offsets = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at as u32).collect());
        Self {
            file,
            offsets,
            length: text.len(),
            stack: Vec::new(),
            documents: Vec::new(),
            anchors: HashMap::new(),
            node_count: 0,
            alias_count: 0,
            stands_at: None,
            origin: Origin::Literal,
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let byte = |index: usize| match &self.offsets {
            Some(offsets) => offsets.get(index).copied().unwrap_or(self.length as u32),
            None => index.min(self.length) as u32,
        };
        Span {
            file: self.file,
            start: byte(start),
            end: byte(end),
        }
    }

    /// `Err` ends the reading of this file.
    fn event(&mut self, event: Event<'_>, span: Span, cx: &mut Context) -> Result<(), Box<Finding>> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && !self.is_text_tag(tag.as_deref(), span, cx);
                let scalar = Scalar {
                    is_plain,
                    origin: self.origin,
                    ..Scalar::literal(unmask(text))
                };
                self.count(1, span, cx)?;
                self.place(
                    Node {
                        span,
                        kind: Kind::Scalar(scalar),
                    },
                    anchor,
                    cx,
                );
            }
            Event::SequenceStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), span, cx);
                self.open(
                    Open {
                        span,
                        anchor,
                        kind: Opened::List(Vec::new()),
                    },
                    cx,
                )?;
            }
            Event::MappingStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), span, cx);
                self.open(
                    Open {
                        span,
                        anchor,
                        kind: Opened::new_map(),
                    },
                    cx,
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span, cx),
            Event::Alias(anchor) => self.alias(anchor, span, cx)?,
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {}
        }
        Ok(())
    }

    /// `!!str` is the one tag that has a meaning here; others would make a value something we cannot know.
    fn is_text_tag(&self, tag: Option<&Tag>, span: Span, cx: &mut Context) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_yaml_core_schema() && tag.suffix == "str" {
            return true;
        }
        // The core tags say what a reader finds out anyway.
        if !tag.is_yaml_core_schema() && tag.suffix != "!" && !tag.suffix.is_empty() {
            let finding = Finding::error(
                &codes::E0109,
                format!("tag {} is not supported", quoted(&tag.to_string())),
            );
            cx.report(
                finding
                    .at(cx.place(span), "")
                    .hint("remove it, or put the text in quotes"),
            );
        }
        false
    }

    fn count(&mut self, nodes: usize, span: Span, cx: &Context) -> Result<(), Box<Finding>> {
        self.node_count += nodes;
        if self.node_count <= NODES_MAX {
            return Ok(());
        }
        let message = format!("configuration expands too far: more than {NODES_MAX} values");
        let finding = Finding::error(&codes::E0102, message);
        Err(Box::new(finding.at(cx.place(span), "the limit is passed here")))
    }

    fn open(&mut self, open: Open, cx: &Context) -> Result<(), Box<Finding>> {
        self.count(1, open.span, cx)?;
        if self.stack.len() >= DEPTH_MAX {
            return Err(Box::new(syntax::too_deep(cx.place(open.span))));
        }
        self.stack.push(open);
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span, cx: &mut Context) -> Result<(), Box<Finding>> {
        self.alias_count += 1;
        if self.alias_count > ALIASES_MAX {
            let message = format!("configuration expands too far: more than {ALIASES_MAX} aliases");
            let finding = Finding::error(&codes::E0102, message).at(cx.place(span), "the limit is passed here");
            return Err(Box::new(finding.hint("write the values out")));
        }
        let Some(node) = self.anchors.get(&anchor) else {
            let finding = Finding::error(&codes::E0101, "alias refers to a value that is not complete yet");
            return Err(Box::new(
                finding.at(cx.place(span), "this alias stands inside the value that it names"),
            ));
        };
        let (nodes, depth) = node.measure();
        let node = node.clone();
        self.count(nodes, span, cx)?;
        if self.stack.len() + depth > DEPTH_MAX {
            return Err(Box::new(syntax::too_deep(cx.place(span))));
        }
        self.place(node, 0, cx);
        Ok(())
    }

    fn close(&mut self, end: Span, cx: &mut Context) {
        let Some(open) = self.stack.pop() else { return };
        let whole = self.stands_at;
        let node = match open.kind {
            Opened::List(items) => {
                let span = extent(
                    open.span,
                    items.first().map(|n| n.span),
                    items.last().map(|n| n.span),
                    end,
                );
                Node {
                    span: whole.unwrap_or(span),
                    kind: Kind::List(items),
                }
            }
            Opened::Map { entries, .. } => {
                let (first, last) = (
                    entries.first().map(|e| e.key.span),
                    entries.last().map(|e| e.value.span),
                );
                Node {
                    span: whole.unwrap_or_else(|| extent(open.span, first, last, end)),
                    kind: Kind::Map(entries),
                }
            }
        };
        self.place(node, open.anchor, cx);
    }

    /// Puts a complete value where it belongs.
    fn place(&mut self, node: Node, anchor: usize, cx: &mut Context) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut().map(|open| &mut open.kind) {
            None => self.documents.push(node),
            Some(Opened::List(items)) => items.push(node),
            Some(Opened::Map { key: key @ None, .. }) => *key = Some(key_of(node, cx)),
            Some(Opened::Map { entries, key, seen }) => {
                if let Some(key) = key.take()
                    && is_new(seen, &key, cx)
                {
                    // An empty value has no place of its own; its key stands for it.
                    let span = if node.span.is_empty() { key.span } else { node.span };
                    entries.push(Entry {
                        key,
                        value: Node { span, ..node },
                    });
                }
            }
        }
    }
}

/// Brackets delimit what has them; a block is delimited by its first and last child.
fn extent(start: Span, first: Option<Span>, last: Option<Span>, end: Span) -> Span {
    if !start.is_empty() && !end.is_empty() && end.start > start.start {
        return start.to(end);
    }
    match (first, last) {
        // An alias's value stands elsewhere in the file; the block then ends where it ends in the text.
        (Some(first), Some(last)) if last.end >= first.start => first.to(last),
        (Some(first), _) => first,
        _ => start,
    }
}

fn key_of(node: Node, cx: &mut Context) -> Key {
    match node.kind {
        Kind::Scalar(scalar) => {
            if scalar.is_plain && scalar.text == "<<" {
                let finding = Finding::error(&codes::E0109, "merge keys (`<<`) are not supported")
                    .at(cx.place(node.span), "")
                    .hint("define it once under `sources:`, `destinations:` or `transformers:` and use its name");
                cx.report(finding);
            }
            Key {
                text: scalar.text,
                span: node.span,
            }
        }
        Kind::List(_) | Kind::Map(_) => {
            let finding = Finding::error(&codes::E0109, format!("{} cannot be a key", node.describe()))
                .at(cx.place(node.span), "a key must be text");
            cx.report(match node.kind {
                Kind::Map(_) => finding.hint("if it is a template such as `{stream}`, put it in quotes"),
                _ => finding,
            });
            Key {
                text: String::new(),
                span: node.span,
            }
        }
    }
}

/// Whether the key may be entered: not a second time, and not one that has been refused.
fn is_new(seen: &mut HashMap<String, Span>, key: &Key, cx: &mut Context) -> bool {
    if key.text == "<<" || (key.text.is_empty() && !key.span.is_empty()) {
        return false;
    }
    let Some(first) = seen.insert(key.text.clone(), key.span) else {
        return true;
    };
    let finding = Finding::error(&codes::E0110, format!("duplicate key {}", quoted(&key.text)))
        .at(cx.place(key.span), "again here")
        .near(cx.place(first), "first here");
    cx.report(finding);
    false
}
