//! Where a sync stands, as rows of the caller's state table.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use model::Checkpoint;
use tonic::Status;

const CHECKPOINT: &str = "checkpoint";
const KEPT: &str = "kept|";

/// What the caller keeps for us.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Position {
    pub(super) checkpoint: Checkpoint,
    /// Small values that the source wants back.
    pub(super) kept: BTreeMap<String, Bytes>,
}

impl Position {
    /// Out of the rows of a state table; those of other pipelines are passed over.
    pub(super) fn of_rows(pipeline: &str, rows: &BTreeMap<String, String>) -> Result<Position, Status> {
        let mut position = Position::default();
        for (key, value) in rows {
            let Some(key) = key.strip_prefix(&prefix(pipeline)) else {
                continue;
            };
            let unread = |what: &dyn std::fmt::Display| {
                Status::internal(format!("the state `{key}` of `{pipeline}` cannot be read: {what}"))
            };
            if key == CHECKPOINT {
                position.checkpoint = serde_json::from_str(value).map_err(|error| unread(&error))?;
            } else if let Some(name) = key.strip_prefix(KEPT) {
                let bytes = BASE64.decode(value).map_err(|error| unread(&error))?;
                position.kept.insert(name.to_owned(), bytes.into());
            }
        }
        Ok(position)
    }

    /// One row for each part.
    pub(super) fn rows(&self, pipeline: &str) -> Result<BTreeMap<String, String>, Status> {
        let checkpoint =
            serde_json::to_string(&self.checkpoint).map_err(|error| Status::internal(error.to_string()))?;
        let prefix = prefix(pipeline);
        let kept = self.kept.iter();
        let kept = kept.map(|(name, value)| (format!("{prefix}{KEPT}{name}"), BASE64.encode(value)));
        Ok(kept.chain([(format!("{prefix}{CHECKPOINT}"), checkpoint)]).collect())
    }
}

/// What the keys of a pipeline's rows begin with.
pub(super) fn prefix(pipeline: &str) -> String {
    format!("highwater|{pipeline}|")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::{Delta, Order, Partition, StreamId, StreamState};

    use super::*;

    #[test]
    fn position_survives_its_rows_and_others_are_passed_over() {
        let mut position = Position::default();
        let to = model::Position::at(Order::new(0, 7, 0));
        let delta = Delta::of(Partition::log("wal"), None, to)
            .with_stream(StreamId::in_schema("public", "a.b"), StreamState::Live { run: 2 });
        position.checkpoint.apply(&delta).unwrap();
        position.kept.insert("run".to_owned(), Bytes::from_static(&[0, 255]));
        let mut rows = position.rows("shop").unwrap();
        rows.insert("somebody|else".to_owned(), "x".to_owned());
        rows.insert("highwater|other|checkpoint".to_owned(), "x".to_owned());
        assert_eq!(Position::of_rows("shop", &rows).unwrap(), position);
        rows.insert("highwater|shop|checkpoint".to_owned(), "{".to_owned());
        assert!(
            Position::of_rows("shop", &rows)
                .unwrap_err()
                .message()
                .contains("`checkpoint`")
        );
        rows.remove("highwater|shop|checkpoint");
        rows.insert("highwater|shop|kept|run".to_owned(), "?".to_owned());
        let error = Position::of_rows("shop", &rows).unwrap_err();
        assert!(error.message().contains("`kept|run` of `shop`"), "{error}");
    }
}
