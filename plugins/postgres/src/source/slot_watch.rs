//! What is told of slots beside their log: how much the server keeps for them, when one will be lost, which are forgotten.

use std::time::{Duration, Instant};

use api::{Retry, SourceSlot};
use tokio_postgres::Client;

use super::error::sql;
use super::spec::Names;
use crate::identifier::quote_literal;
use crate::replication::Lsn;

/// A slot is about to be lost when less than this part of what it may keep is left, and safe again with twice as much.
const SAFE_PART_MIN: f64 = 0.2;

/// Slots that nobody reads are told of this long after the start: other pipelines of the same process start too.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A slot that is ours, by its name or by the configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OurSlot {
    pub(crate) name: String,
    pub(crate) database: String,
    pub(crate) is_active: bool,
    /// Bytes of log from its oldest on.
    pub(crate) retained_bytes: i64,
    /// Bytes that may still be written before it is lost; `None` without a limit.
    pub(crate) safe_bytes: Option<i64>,
    /// All that may be kept for it.
    pub(crate) keep_bytes_max: Option<i64>,
    /// Up to where it may be forgotten.
    pub(crate) confirmed: Option<String>,
}

impl OurSlot {
    /// Every lasting logical slot for `pgoutput`, whoever made it.
    pub(crate) async fn all(client: &Client) -> api::Result<Vec<OurSlot>> {
        let rows = client
            .query(
                "SELECT s.slot_name::text, s.database::text, s.active,
                        coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                                      ELSE pg_current_wal_lsn() END, s.restart_lsn), 0)::int8,
                        s.safe_wal_size,
                        (SELECT setting::int8 * 1048576 FROM pg_settings
                         WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'), s.confirmed_flush_lsn::text
                 FROM pg_replication_slots s WHERE s.plugin = 'pgoutput' AND NOT s.temporary ORDER BY s.slot_name",
                &[],
            )
            .await
            .map_err(sql("look how much log the slots keep"))?;
        let slot = |row: tokio_postgres::Row| OurSlot {
            name: row.get(0),
            database: row.get(1),
            is_active: row.get(2),
            retained_bytes: row.get(3),
            safe_bytes: row.get(4),
            keep_bytes_max: row.get(5),
            confirmed: row.get(6),
        };
        Ok(rows.into_iter().map(slot).collect())
    }

    /// Whether nobody reads it, though it has a name that we give.
    fn is_unread(&self, names: &Names) -> bool {
        !self.is_active && self.name != names.slot && self.name.starts_with("highwater_")
    }

    /// What part of the log that it may keep is left.
    fn safe_part(&self) -> Option<f64> {
        Some(self.safe_bytes? as f64 / self.keep_bytes_max?.max(1) as f64)
    }

    fn is_nearly_lost(&self) -> bool {
        self.safe_part().is_some_and(|part| part < SAFE_PART_MIN)
    }

    fn nearly_lost(&self) -> api::Error {
        let text = format!(
            "replication slot `{}` will be lost after another {} of log: the server keeps {} for it already",
            self.name,
            size(self.safe_bytes.unwrap_or(0)),
            size(self.retained_bytes)
        );
        let larger = self.keep_bytes_max.unwrap_or(0) / (1 << 20) * 2;
        api::Error::new("W0258", Retry::Never, text).hint(format!(
            "ALTER SYSTEM SET max_slot_wal_keep_size = '{larger}MB'; SELECT pg_reload_conf(); or look which destination is behind"
        ))
    }

    /// What is said of one that nobody reads: whose it is, if the configuration has its pipeline.
    fn unread(&self, names: &Names) -> api::Error {
        let Some(pipeline) = names.slots_of_others.get(&self.name) else {
            return self.forgotten();
        };
        let text = format!(
            "replication slot `{}` of pipeline `{pipeline}`, which does not run, keeps {} of log",
            self.name,
            size(self.retained_bytes)
        );
        api::Error::new("N0277", Retry::Never, text).hint(format!(
            "run the pipeline, or give its position up: highwater forget {pipeline}"
        ))
    }

    fn forgotten(&self) -> api::Error {
        let text = format!(
            "replication slot `{}` of database `{}` is of no pipeline here, nobody reads it, and it keeps {} of log",
            self.name,
            self.database,
            size(self.retained_bytes)
        );
        api::Error::new("W0259", Retry::Never, text).hint(format!(
            "if no pipeline needs it: SELECT pg_drop_replication_slot({});",
            quote_literal(&self.name)
        ))
    }
}

/// What `validate --connect` says of slots.
pub(crate) fn findings(slots: &[OurSlot], names: &Names) -> Vec<api::Error> {
    let mut found = Vec::new();
    for slot in slots {
        if slot.name == names.slot && slot.is_nearly_lost() {
            found.push(slot.nearly_lost());
        } else if slot.name == names.slot {
            let left = match slot.safe_bytes {
                Some(bytes) => format!("{} before it is invalidated", size(bytes)),
                None => "without a limit".to_owned(),
            };
            let kept = size(slot.retained_bytes);
            let text = format!(
                "replication slot `{}`: the server keeps {kept} of log, {left}",
                slot.name
            );
            found.push(api::Error::new("N0260", Retry::Never, text));
        } else if slot.is_unread(names) {
            found.push(slot.unread(names));
        }
    }
    found
}

/// Follows the slots of a running pipeline.
pub(crate) struct SlotWatch {
    names: Names,
    opened_at: Instant,
    is_nearly_lost: bool,
    has_told_of_forgotten: bool,
    /// The pipeline's own slot, as it was seen last.
    seen: Option<OurSlot>,
}

impl SlotWatch {
    pub(crate) fn new(names: &Names) -> Self {
        SlotWatch {
            names: names.clone(),
            opened_at: Instant::now(),
            is_nearly_lost: false,
            has_told_of_forgotten: false,
            seen: None,
        }
    }

    /// Puts what was seen into the metrics, and warns of what is new.
    pub(crate) fn see(&mut self, slots: &[OurSlot]) {
        if let Some(slot) = slots.iter().find(|slot| slot.name == self.names.slot) {
            self.measure(slot);
            self.seen = Some(slot.clone());
            let was_nearly_lost = self.is_nearly_lost;
            // Warned of once, until there is clearly more room.
            let is_safe = slot.safe_part().is_none_or(|part| part >= 2.0 * SAFE_PART_MIN);
            self.is_nearly_lost = slot.is_nearly_lost() || (was_nearly_lost && !is_safe);
            if self.is_nearly_lost && !was_nearly_lost {
                self.tell(&slot.nearly_lost());
            }
        }
        if !self.has_told_of_forgotten && self.opened_at.elapsed() >= FORGOTTEN_AFTER {
            self.has_told_of_forgotten = true;
            for slot in slots.iter().filter(|slot| slot.is_unread(&self.names)) {
                self.tell(&slot.unread(&self.names));
            }
        }
    }

    /// The figures of the pipeline's own slot.
    pub(crate) fn figures(&self, received: Lsn) -> Option<SourceSlot> {
        let seen = self.seen.as_ref()?;
        let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        Some(SourceSlot {
            name: seen.name.clone(),
            is_active: seen.is_active,
            retained_bytes: bytes(seen.retained_bytes),
            safe_bytes: seen.safe_bytes.map(bytes),
            acknowledged: seen.confirmed.clone(),
            received: Some(received.to_string()),
        })
    }

    fn measure(&self, slot: &OurSlot) {
        let labels = [("pipeline", self.names.pipeline.clone()), ("slot", slot.name.clone())];
        metrics::gauge!(RETAINED, &labels).set(slot.retained_bytes as f64);
        metrics::gauge!(ACTIVE, &labels).set(f64::from(u8::from(slot.is_active)));
        if let Some(bytes) = slot.safe_bytes {
            metrics::gauge!(SAFE, &labels).set(bytes as f64);
        }
    }

    fn tell(&self, error: &api::Error) {
        if error.code().starts_with('N') {
            return tracing::info!(code = error.code(), pipeline = self.names.pipeline, "{error}");
        }
        tracing::warn!(
            code = error.code(),
            pipeline = self.names.pipeline,
            hint = error.remedy().unwrap_or_default(),
            "{error}"
        );
    }
}

const RETAINED: &str = "highwater_postgres_slot_retained_bytes";
const SAFE: &str = "highwater_postgres_slot_safe_bytes";
const ACTIVE: &str = "highwater_postgres_slot_active";

/// Bytes for people.
fn size(bytes: i64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    let mib = bytes as f64 / MIB;
    if mib >= 1024.0 {
        format!("{:.1} GiB", mib / 1024.0)
    } else {
        format!("{mib:.1} MiB")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn slot(name: &str, is_active: bool, safe_mib: Option<i64>) -> OurSlot {
        OurSlot {
            name: name.to_owned(),
            database: "shop".to_owned(),
            is_active,
            retained_bytes: 300 << 20,
            safe_bytes: safe_mib.map(|mib| mib << 20),
            keep_bytes_max: safe_mib.map(|_| 1_000 << 20),
            confirmed: None,
        }
    }

    fn names() -> Names {
        Names {
            pipeline: "shop".to_owned(),
            slot: "highwater_shop".to_owned(),
            publication: "highwater_shop".to_owned(),
            slots_of_others: BTreeMap::from([("highwater_crm".to_owned(), "crm".into())]),
        }
    }

    fn check(slots: &[OurSlot], expected: &[&str]) {
        let found = findings(slots, &names());
        let codes: Vec<&str> = found.iter().map(api::Error::code).collect();
        assert_eq!(codes, expected, "{slots:?}");
    }

    #[test]
    fn slots_are_told_of_by_what_threatens_them() {
        check(&[slot("highwater_shop", true, None)], &["N0260"]);
        check(&[slot("highwater_shop", true, Some(700))], &["N0260"]);
        check(&[slot("highwater_shop", true, Some(100))], &["W0258"]);
        check(
            &[slot("highwater_shop", false, None), slot("highwater_old", false, None)],
            &["N0260", "W0259"],
        );
        check(&[slot("highwater_old", true, None), slot("debezium", false, None)], &[]);
        check(&[slot("highwater_crm", false, None)], &["N0277"]);
        check(&[slot("highwater_crm", true, None)], &[]);
    }

    #[test]
    fn warning_comes_once_until_there_is_clearly_more_room() {
        let mut watch = SlotWatch::new(&names());
        let mut see = |safe_mib| {
            watch.see(&[slot("highwater_shop", true, Some(safe_mib))]);
            watch.is_nearly_lost
        };
        assert_eq!(
            [see(700), see(150), see(300), see(500), see(300)],
            [false, true, true, false, false]
        );
    }
}
