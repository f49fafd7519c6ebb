//! Which table a stream is written to.

use model::StreamId;
use xxhash_rust::xxh3::xxh3_64;

use super::ledger::TableName;

/// PostgreSQL cuts names that are longer.
const NAME_BYTES_MAX: usize = 63;

/// The schema of streams that have none.
const DEFAULT_SCHEMA: &str = "public";

/// Where tables go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// For every table; `None`: that of the stream.
    pub(crate) schema: Option<String>,
    /// The name, with `{schema}` and `{name}`.
    pub(crate) table: String,
}

impl Place {
    /// The table of a stream. A name that is too long is cut and ends in a hash of the whole.
    pub(crate) fn of(&self, stream: &StreamId) -> TableName {
        let schema = self.schema.as_deref().or(stream.schema()).unwrap_or(DEFAULT_SCHEMA);
        TableName {
            schema: fitted(schema.to_owned()),
            name: fitted(self.name(stream)),
        }
    }

    /// The pattern is walked once, so that a stream's name is never taken for a pattern.
    fn name(&self, stream: &StreamId) -> String {
        let mut name = String::new();
        let mut rest = self.table.as_str();
        while let Some(open) = rest.find('{') {
            name.push_str(&rest[..open]);
            let (part, length) = match &rest[open..] {
                tail if tail.starts_with("{schema}") => (stream.schema().unwrap_or(DEFAULT_SCHEMA), "{schema}".len()),
                tail if tail.starts_with("{name}") => (stream.name(), "{name}".len()),
                _ => ("{", 1),
            };
            name.push_str(part);
            rest = &rest[open + length..];
        }
        name.push_str(rest);
        name
    }
}

fn fitted(name: String) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let hash = format!("_{:016x}", xxh3_64(name.as_bytes()));
    let mut end = NAME_BYTES_MAX - hash.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{hash}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: Option<&str>, table: &str, stream: &StreamId) -> String {
        let place = Place {
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
        };
        let TableName { schema, name } = place.of(stream);
        format!("{schema}.{name}")
    }

    #[test]
    fn stream_keeps_its_schema_unless_one_is_set() {
        let stream = StreamId::in_schema("sales", "orders");
        assert_eq!(table(None, "{name}", &stream), "sales.orders");
        assert_eq!(table(Some("dw"), "{schema}_{name}", &stream), "dw.sales_orders");
        assert_eq!(table(None, "{name}", &StreamId::new("orders")), "public.orders");
    }

    #[test]
    fn name_of_a_stream_is_no_pattern() {
        assert_eq!(
            table(None, "x{name}", &StreamId::new("{schema}{name}")),
            "public.x{schema}{name}"
        );
        assert_eq!(table(None, "{{name}}", &StreamId::new("a")), "public.{a}");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let one = table(None, "{name}", &StreamId::new("ü".repeat(50)));
        let two = table(None, "{name}", &StreamId::new(format!("{}x", "ü".repeat(50))));
        assert!(one.len() <= "public.".len() + NAME_BYTES_MAX, "{one}");
        assert_ne!(one, two);
    }
}
