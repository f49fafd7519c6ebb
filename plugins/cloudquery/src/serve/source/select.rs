//! Which tables a caller means.

use std::collections::HashMap;
use std::sync::Arc;

use model::StreamSchema;

use crate::pattern::matches;

/// Which shard of so many, from 1, reads a table. By its name alone: a table that is new must not move others to shards that
/// know nothing of them, and so nothing of what was deleted since.
pub(super) fn shard_of(table: &str, total: u64) -> u64 {
    // FNV-1a: what a table falls to must stay, whatever library is under us.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = table.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // Its low bits alone are hardly mixed.
    let mixed = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ mixed >> 33) % total + 1
}

/// The tables that a pattern names and none skips. A pattern that matches nothing is a misspelling.
pub(super) fn choose(
    found: Vec<Arc<StreamSchema>>,
    tables: &[String],
    skip: &[String],
) -> Result<Vec<Arc<StreamSchema>>, String> {
    let names: Vec<String> = found.iter().map(|schema| schema.stream().flat_name()).collect();
    let mut streams = HashMap::new();
    for pattern in tables.iter().chain(skip) {
        if !names.iter().any(|name| matches(pattern, name)) {
            return Err(format!(
                "`{pattern}` matches no table; there is `{}`",
                names.join("`, `")
            ));
        }
    }
    let is_meant = |name: &str| {
        tables.iter().any(|pattern| matches(pattern, name)) && !skip.iter().any(|pattern| matches(pattern, name))
    };
    let chosen = found.into_iter().zip(&names).filter(|(_, name)| is_meant(name));
    let mut chosen_schemas = Vec::new();
    for (schema, name) in chosen {
        if let Some(other) = streams.insert(name, schema.stream().clone()) {
            let stream = schema.stream();
            return Err(format!(
                "`{other}` and `{stream}` are both the table `{name}`; leave it out, or rename one of them"
            ));
        }
        chosen_schemas.push(schema);
    }
    Ok(chosen_schemas)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};
    use model::{StreamId, StreamSchema};

    use super::{choose, shard_of};

    #[test]
    fn two_streams_of_one_flat_name_are_refused_where_they_are_meant() {
        let schema = |schema: &str, name: &str| {
            let fields = vec![Field::new("id", DataType::Int64, false)];
            Arc::new(StreamSchema::new(StreamId::in_schema(schema, name), fields, ["id"]).expect("it is one"))
        };
        let found = || vec![schema("a", "b_c"), schema("a_b", "c"), schema("a", "d")];
        let all = ["*".to_owned()];
        let error = choose(found(), &all, &[]).expect_err("two of them are `a_b_c`");
        assert!(
            error.contains("`a.b_c` and `a_b.c` are both the table `a_b_c`"),
            "{error}"
        );
        assert_eq!(
            choose(found(), &all, &["a_b_c".to_owned()]).map(|chosen| chosen.len()),
            Ok(1)
        );
    }

    #[test]
    fn every_table_has_one_shard_and_a_new_one_moves_none() {
        let tables: Vec<String> = (0..200).map(|at| format!("public_table_{at}")).collect();
        for total in [2, 3, 7] {
            let mut sizes = vec![0; total as usize];
            tables
                .iter()
                .for_each(|table| sizes[shard_of(table, total) as usize - 1] += 1);
            assert!(sizes.iter().all(|&size| size > 0), "{sizes:?}");
        }
        // Fixed for good: state tables out there depend on it.
        assert_eq!(["a", "public_orders", "ü"].map(|table| shard_of(table, 5)), [5, 5, 1]);
    }
}
