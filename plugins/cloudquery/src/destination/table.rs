//! One stream as a table of the plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use model::{Batch, SchemaId, StreamSchema, Test};
use proto::plugin_v3::write::MessageDeleteRecord;
use proto::plugin_v3::{Predicate, PredicatesGroup, predicates_group};
use proto::{Column, ConvertError, EncodeError, Encoder, Table as WireTable, TableCodec, encode_schema};

use super::group;
use super::lines::{Image, Line, column_of};
use super::spec::{KeyOf, TableRules};
use crate::conditions;
use crate::error::Error;
use crate::source::{SOURCE, SYNC_TIME};

/// Which group of syncs a row is of.
const GROUP: &str = "_cq_sync_group_id";
const CQ_ID: &str = "_cq_id";
/// What happened to a row, in a stream that is appended.
const OP: &str = "_highwater_op";
/// In which transaction.
const POSITION: &str = "_highwater_position";
/// When the source committed it.
const COMMITTED_AT: &str = "_highwater_committed_at";
/// The columns whose value the source did not send; null if it sent all.
const UNAVAILABLE: &str = "_highwater_unavailable";

/// Equalities in one delete. More make one message and one statement of the plugin larger, fewer make more of them.
const DELETES_PER_MESSAGE: usize = 500;

/// Why rows do not fit the plugin.
#[derive(Debug)]
pub(super) enum Misfit {
    Convert(ConvertError),
    Encode(EncodeError),
}

impl From<ConvertError> for Misfit {
    fn from(error: ConvertError) -> Self {
        Misfit::Convert(error)
    }
}

impl From<EncodeError> for Misfit {
    fn from(error: EncodeError) -> Self {
        Misfit::Encode(error)
    }
}

impl From<arrow::error::ArrowError> for Misfit {
    fn from(error: arrow::error::ArrowError) -> Self {
        Misfit::Encode(error.into())
    }
}

impl Misfit {
    /// As what went wrong with one table of a plugin.
    pub(super) fn of(self, plugin: &str, table: &str) -> Error {
        let plugin = plugin.to_owned();
        match self {
            Misfit::Convert(source) => Error::Convert { plugin, source },
            Misfit::Encode(source) => Error::Encode {
                plugin,
                table: table.to_owned(),
                source,
            },
        }
    }
}

type Result<T> = std::result::Result<T, Misfit>;

/// A table that the plugin was told of.
pub(super) struct Table {
    codec: TableCodec,
    encoder: Encoder,
    /// Whether rows get the columns that say what happened to them.
    has_history: bool,
    /// Of a stream that a plugin's sync brings: template and source of the text in [`GROUP`].
    group: Option<(String, String)>,
    /// Whether two rows of one key of the stream's are two rows here.
    is_keyed_otherwise: bool,
}

impl Table {
    /// `appends`: without key, and what happened to a row is in columns of its own. A stream that comes from a plugin's
    /// sync has existing rows only, and stays as it is.
    pub(super) fn new(schema: &Arc<StreamSchema>, appends: bool, rules: TableRules<'_>) -> Result<Table> {
        let codec = TableCodec::of_stream(schema, schema.stream().flat_name())?;
        let mut table = codec.table().clone();
        let has_history = appends && schema.arrow().field_with_name(SYNC_TIME).is_err();
        if appends {
            for column in &mut table.columns {
                column.is_key = false;
                // The old row of a change may be known in part only.
                column.field = column.field.clone().with_nullable(true);
            }
        }
        if has_history {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            let added = [
                Field::new(OP, DataType::Utf8, true),
                Field::new(POSITION, DataType::Utf8, true),
                Field::new(COMMITTED_AT, utc, true),
                Field::new_list(UNAVAILABLE, Field::new_list_field(DataType::Utf8, true), true),
            ];
            table.columns.extend(added.map(Column::new));
        }
        let is_keyed_otherwise = !appends && rules.key == KeyOf::CqId && set_key(&mut table, CQ_ID);
        let source = source_of(schema);
        let group = rules
            .sync_group_id
            .zip(source)
            .map(|(template, source)| (template.to_owned(), source));
        if group.is_some() {
            let mut column = Column::new(Field::new(GROUP, DataType::Utf8, false));
            column.is_key = !appends && table.columns.iter().any(|column| column.is_key);
            table.columns.push(column);
        }
        Ok(Table {
            encoder: Encoder::new(Arc::new(table.to_schema()))?,
            codec,
            has_history,
            group,
            is_keyed_otherwise,
        })
    }

    /// Whether rows of one key may be told apart by another one.
    pub(super) fn is_keyed_otherwise(&self) -> bool {
        self.is_keyed_otherwise
    }

    pub(super) fn name(&self) -> &str {
        &self.codec.table().name
    }

    /// Whether its rows say of which sync they are.
    pub(super) fn is_synced(&self) -> bool {
        self.codec.ours().arrow().field_with_name(SYNC_TIME).is_ok()
    }

    pub(super) fn schema(&self) -> &StreamSchema {
        self.codec.ours()
    }

    pub(super) fn schema_id(&self) -> SchemaId {
        self.codec.ours().id()
    }

    /// The table's schema, for `migrate_table`.
    pub(super) fn payload(&self) -> Result<Bytes> {
        Ok(encode_schema(self.encoder.schema())?)
    }

    /// Records with these lines of a batch.
    pub(super) fn records(&mut self, batch: &Batch, lines: &[Line], bytes_max: usize) -> Result<Vec<Bytes>> {
        let rows = self.own_columns(batch, lines)?;
        let mut columns = self.codec.rows_to_wire(&rows)?;
        if self.has_history {
            columns.extend(history(batch, lines));
        }
        if let Some((template, source)) = &self.group {
            // A batch that was gathered may hold rows of two syncs.
            let mut syncs = BTreeMap::new();
            let mut texts = StringBuilder::new();
            for time in lines.iter().map(|line| batch.commit_of(line.row).time) {
                texts.append_value(
                    syncs
                        .entry(time)
                        .or_insert_with(|| group::render(template, source, time)),
                );
            }
            columns.push(Arc::new(texts.finish()));
        }
        let rows = RecordBatch::try_new(Arc::clone(self.encoder.schema()), columns)?;
        Ok(self.encoder.encode_split(&rows, bytes_max)?)
    }

    fn own_columns(&self, batch: &Batch, lines: &[Line]) -> Result<RecordBatch> {
        let fields = self.codec.ours().arrow().fields();
        let columns: Vec<ArrayRef> = (0..fields.len())
            .map(|column| column_of(batch, column, lines))
            .collect::<std::result::Result<_, _>>()?;
        let nullable: Vec<Field> = fields
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        Ok(RecordBatch::try_new(
            Arc::new(arrow::datatypes::Schema::new(nullable)),
            columns,
        )?)
    }

    /// Deletes of the keys in these lines.
    pub(super) fn deletes(&self, batch: &Batch, lines: &[Line]) -> Result<Vec<MessageDeleteRecord>> {
        let rows = self.codec.rows_to_wire(&self.own_columns(batch, lines)?)?;
        let key = self.codec.ours().key();
        let mut predicates: Vec<Vec<Predicate>> = vec![Vec::with_capacity(key.len()); lines.len()];
        for &column in key {
            let field = &self.codec.table().columns[column].field;
            let mut table = WireTable::named(self.name());
            table.columns.push(Column::new(field.clone().with_nullable(true)));
            let mut encoder = Encoder::new(Arc::new(table.to_schema()))?;
            for (row, predicates) in predicates.iter_mut().enumerate() {
                let value = rows[column].slice(row, 1);
                let value = RecordBatch::try_new(Arc::clone(encoder.schema()), vec![value])?;
                predicates.push(Predicate {
                    operator: proto::plugin_v3::predicate::Operator::Eq.into(),
                    column: field.name().clone(),
                    record: encoder.encode(&value)?,
                });
            }
        }
        let group = |grouping: predicates_group::GroupingType, predicates| PredicatesGroup {
            grouping_type: grouping.into(),
            predicates,
        };
        let message = |group| MessageDeleteRecord {
            table_name: self.name().to_owned(),
            where_clause: vec![group],
            table_relations: Vec::new(),
        };
        // Groups are joined by AND, so keys of several columns go one by one.
        if key.len() > 1 {
            let one = |predicates| message(group(predicates_group::GroupingType::And, predicates));
            return Ok(predicates.into_iter().map(one).collect());
        }
        let single: Vec<Predicate> = predicates.into_iter().flatten().collect();
        let many = |of: &[Predicate]| message(group(predicates_group::GroupingType::Or, of.to_vec()));
        Ok(single.chunks(DELETES_PER_MESSAGE).map(many).collect())
    }

    /// A delete of the rows for which every term holds; `None` if the protocol cannot say it.
    pub(super) fn delete_where(&self, predicate: &model::Predicate) -> Result<Option<MessageDeleteRecord>> {
        let mut predicates = Vec::with_capacity(predicate.terms.len());
        for (column, test, value) in &predicate.terms {
            let (Test::Eq, Some(alone)) = (test, conditions::alone(&self.codec, column)?) else {
                return Ok(None);
            };
            let value = RecordBatch::try_new(Arc::clone(alone.ours().arrow()), vec![Arc::clone(value)])?;
            let value = RecordBatch::try_new(Arc::clone(alone.wire()), alone.rows_to_wire(&value)?)?;
            predicates.push(Predicate {
                operator: proto::plugin_v3::predicate::Operator::Eq.into(),
                column: column.clone(),
                record: Encoder::new(Arc::clone(alone.wire()))?.encode(&value)?,
            });
        }
        Ok(Some(MessageDeleteRecord {
            table_name: self.name().to_owned(),
            where_clause: vec![PredicatesGroup {
                grouping_type: predicates_group::GroupingType::And.into(),
                predicates,
            }],
            table_relations: Vec::new(),
        }))
    }

    /// A delete of every row.
    pub(super) fn delete_all(&self) -> MessageDeleteRecord {
        MessageDeleteRecord {
            table_name: self.name().to_owned(),
            where_clause: Vec::new(),
            table_relations: Vec::new(),
        }
    }
}

/// Makes a column the only key; `false` where there is none of that name.
fn set_key(table: &mut WireTable, name: &str) -> bool {
    if !table.columns.iter().any(|column| column.field.name() == name) {
        return false;
    }
    for column in &mut table.columns {
        column.is_key = column.field.name() == name;
        if column.is_key {
            column.field = column.field.clone().with_nullable(false);
        }
    }
    true
}

/// The name of the plugin's source that a stream comes from, if it comes from one.
pub(super) fn source_of(schema: &StreamSchema) -> Option<String> {
    let mut fields = schema.arrow().fields().iter();
    fields.find_map(|field| field.metadata().get(SOURCE).cloned())
}

fn history(batch: &Batch, lines: &[Line]) -> [ArrayRef; 4] {
    let commits = || lines.iter().map(|line| batch.commit_of(line.row));
    let ops = lines.iter().map(|line| match line.image {
        Image::After => line.op.name(),
        Image::Before => model::Op::Delete.name(),
    });
    let times = TimestampMicrosecondArray::from_iter_values(commits().map(|commit| commit.time.micros()));
    [
        Arc::new(StringArray::from_iter_values(ops)),
        Arc::new(StringArray::from_iter_values(
            commits().map(|commit| commit.order.to_string()),
        )),
        Arc::new(times.with_timezone("UTC")),
        unavailable(batch, lines),
    ]
}

fn unavailable(batch: &Batch, lines: &[Line]) -> ArrayRef {
    let mut list = ListBuilder::new(StringBuilder::new());
    for line in lines {
        let unsent = match line.image {
            Image::After => batch.unavailable.as_ref(),
            Image::Before => batch.before.as_ref().and_then(|before| before.unavailable.as_ref()),
        };
        let fields = batch.schema.arrow().fields().iter().enumerate();
        let names: Vec<&str> = fields
            .filter(|(column, _)| unsent.is_some_and(|unsent| unsent.is_set(line.row, *column)))
            .map(|(_, field)| field.name().as_str())
            .collect();
        names.iter().for_each(|name| list.values().append_value(name));
        list.append(!names.is_empty());
    }
    Arc::new(list.finish())
}

#[cfg(test)]
mod tests;
