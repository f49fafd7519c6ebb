//! One destination of a pipeline, and what its connector can do of what is asked.

use crate::catalog::{DestinationInfo, Role};
use crate::choice::Choices;
use crate::codes;
use crate::context::Context;
use crate::fields::DESTINATION;
use crate::finding::{Finding, FixOp};
use crate::locate::{Part, Places};
use crate::plan::{Batch, Deletes, DestinationPlan, Retry, WhenBehind, Write, WriteMode};
use crate::sources::Span;
use crate::suggest::one_of;
use crate::typed::{Item, Object};
use crate::units::parse_duration;

use super::component::{self, Connector};
use super::{Group, chain};

/// Where a destination is used: for labels, and as the name of its parts.
pub(super) struct Use<'a> {
    pub(super) pipeline: &'a str,
    pub(super) name: &'a str,
    /// The key under which it is written out, here or under `destinations:`.
    pub(super) key: Span,
}

impl Use<'_> {
    fn label(&self) -> String {
        format!("in destination `{}` of pipeline `{}`", self.name, self.pipeline)
    }
}

/// Reads a destination, written out or by its definition.
pub(super) fn read(
    item: &Item<'_>,
    used: &Use<'_>,
    transformers: &mut Group<'_>,
    places: &mut Places,
    cx: &mut Context,
) -> Option<DestinationPlan> {
    let component = component::open(item, &DESTINATION, Role::Destination, cx)?;
    let object = &component.object;
    places.remember(Part::destination(used.pipeline, used.name), item);
    let spec = component.spec(used.name, cx);
    let known = component
        .connector
        .as_ref()
        .and_then(|c| c.info.destination.as_ref().map(|info| (c, info)));
    let write = object.get("write").and_then(|item| check_write(&item, known, used, cx));
    let deletes = object
        .get("deletes")
        .and_then(|item| check_ability(&item, known, |info| &info.deletes, used, cx));
    let on_schema_change = object
        .get("on_schema_change")
        .and_then(|item| check_ability(&item, known, |info| &info.on_schema_change, used, cx));
    let batch = read_batch(object, known.map(|(_, info)| &info.batch), cx);
    let retry = read_retry(object, cx);
    let behind = object.map("when_behind", cx);
    let when_behind = behind
        .and_then(|object| object.get("then"))
        .and_then(|item| item.choice(cx));
    let part_of = |name: &str| Part::transformer_of(used.pipeline, used.name, name);
    let chain = object
        .get("transformers")
        .map(|item| chain::read(&item, transformers, part_of, places, cx));
    let (connector, info) = known?;
    Some(DestinationPlan {
        name: used.name.to_owned(),
        connector: connector.name.to_owned(),
        spec: spec?,
        write: write.map_or_else(|| default_write(info), WriteMode::Always),
        deletes: deletes.or(info.deletes.first().copied()).unwrap_or(Deletes::Apply),
        on_schema_change,
        batch,
        retry,
        when_behind: when_behind.unwrap_or(WhenBehind::Hold),
        transformers: chain.unwrap_or(Some(Vec::new()))?,
        guarantee: info.guarantee.clone(),
        buffer_bytes: info.buffer_bytes,
    })
}

/// By the stream's key if the connector can do both; else the strongest of what it can.
fn default_write(info: &DestinationInfo) -> WriteMode {
    match (
        info.writes.contains(&Write::Append),
        info.writes.contains(&Write::Upsert),
    ) {
        (true, true) => WriteMode::ByKey,
        (_, false) => WriteMode::Always(info.writes.first().copied().unwrap_or(Write::Append)),
        (false, true) => WriteMode::Always(Write::Upsert),
    }
}

type Known<'k, 't, 'c> = Option<(&'k Connector<'t, 'c>, &'c DestinationInfo)>;

fn check_write(item: &Item<'_>, known: Known<'_, '_, '_>, used: &Use<'_>, cx: &mut Context) -> Option<Write> {
    let write: Write = item.choice(cx)?;
    let (connector, info) = known?;
    if info.writes.contains(&write) {
        return Some(write);
    }
    let able: Vec<&str> = info.writes.iter().map(|write| write.name()).collect();
    let others = cx.catalog.writing(write);
    let mut hint = format!("use `write: {}`", able.join("` or `write: "));
    if !others.is_empty() {
        hint = format!("{hint}; or connector {}, which can {write}", one_of(&others));
    }
    let finding = Finding::error(&codes::E0117, format!("connector `{}` cannot {write}", connector.name))
        .at(
            cx.place(item.node.span),
            format!("not supported by `{}`", connector.name),
        )
        .near(cx.place(used.key), used.label())
        .near(
            cx.place(connector.item.node.span),
            format!("supports: {}", able.join(", ")),
        )
        .path(item.pointer.clone())
        .hint(hint);
    cx.report(match able.as_slice() {
        [only] => finding.fix(item.pointer.clone(), FixOp::Replace, *only),
        _ => finding,
    });
    None
}

/// Reads a word and checks it against those that the connector can do.
fn check_ability<T: Choices>(
    item: &Item<'_>,
    known: Known<'_, '_, '_>,
    abilities: impl Fn(&DestinationInfo) -> &Vec<T>,
    used: &Use<'_>,
    cx: &mut Context,
) -> Option<T> {
    let value: T = item.choice(cx)?;
    let (connector, info) = known?;
    let able: Vec<&str> = abilities(info).iter().map(|able| able.name()).collect();
    if able.contains(&value.name()) {
        return Some(value);
    }
    let field = crate::pointer::last(&item.pointer);
    let message = format!("connector `{}` cannot do `{field}: {}`", connector.name, value.name());
    let supported = if able.is_empty() {
        "none".to_owned()
    } else {
        able.join(", ")
    };
    let mut finding = Finding::error(&codes::E0118, message)
        .at(
            cx.place(item.node.span),
            format!("not supported by `{}`", connector.name),
        )
        .near(cx.place(used.key), used.label())
        .near(cx.place(connector.item.node.span), format!("supports: {supported}"))
        .path(item.pointer.clone());
    if !able.is_empty() {
        finding = finding.hint(format!("use `{field}: {}`", able.join(&format!("` or `{field}: "))));
    }
    cx.report(finding);
    None
}

fn read_batch(object: &Object<'_>, default: Option<&Batch>, cx: &mut Context) -> Batch {
    let mut batch = default.cloned().unwrap_or_default();
    let Some(object) = object.map("batch", cx) else {
        return batch;
    };
    if let Some(bytes) = object.get("bytes_max").and_then(|item| item.size(cx)) {
        batch.bytes_max = bytes;
    }
    if let Some(rows) = object.get("rows_max").and_then(|item| item.integer(1, u64::MAX, cx)) {
        batch.rows_max = rows;
    }
    if let Some(wait) = object.get("wait_max").and_then(|item| item.duration(cx)) {
        batch.wait_max = wait;
    }
    batch
}

fn read_retry(object: &Object<'_>, cx: &mut Context) -> Retry {
    let mut retry = Retry::default();
    let Some(object) = object.map("retry", cx) else {
        return retry;
    };
    let (min, max) = (object.get("backoff_min"), object.get("backoff_max"));
    if let Some(wait) = min.as_ref().and_then(|item| item.wait(cx)) {
        retry.backoff_min = wait;
        retry.backoff_max = retry.backoff_max.max(wait);
    }
    if let Some(wait) = max.as_ref().and_then(|item| item.wait(cx)) {
        retry.backoff_max = wait;
    }
    if let Some(max) = max.filter(|_| retry.backoff_min > retry.backoff_max) {
        let mut finding = Finding::error(&codes::E0116, "`backoff_max` is less than `backoff_min`")
            .at(cx.place(max.node.span), "")
            .path(max.pointer.clone());
        if let Some(min) = min {
            finding = finding.near(cx.place(min.node.span), "more than `backoff_max`");
        } else {
            finding = finding.hint("`backoff_min` is `200ms` unless it is set");
        }
        cx.report(finding);
    }
    if let Some(item) = object.get("for")
        && let Some(text) = item.text(cx)
        && text != "forever"
    {
        retry.give_up_after = parse_duration(text);
        if retry.give_up_after.is_none() {
            let nearest = crate::units::nearest_duration(text);
            item.invalid(
                "duration",
                text,
                "`forever`, or a number and a unit, such as `10m`",
                nearest,
                cx,
            );
        }
    }
    retry
}
