use std::sync::Arc;

use api::Images;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter;
use arrow::datatypes::{Field, Schema};
use model::{LogicalType, OutRows, StreamId, StreamSchema, Unavailable};

use crate::error::Error;

/// A stream's columns on their way through transformations, with rows or without. The shape behind a transformer is what
/// comes out of a frame without rows, so that there is one code for both.
pub(crate) struct Frame {
    pub(crate) stream: StreamId,
    pub(crate) columns: Vec<Column>,
    pub(crate) key: Vec<String>,
    /// The names of the input's columns.
    inputs: Vec<String>,
    /// The input row of each row.
    pub(crate) rows: Vec<u32>,
    pub(crate) may_drop: bool,
}

/// One of them.
pub(crate) struct Column {
    /// As its stream has it.
    pub(crate) field: Field,
    pub(crate) values: ArrayRef,
    /// Whether these rows have nulls that the stream's do not: a value that was not sent is carried as one.
    pub(crate) is_nullable: bool,
    /// The input columns that it depends on.
    pub(crate) lineage: Vec<usize>,
    pub(crate) unavailable: Option<BooleanBuffer>,
}

impl Column {
    /// One that depends on nothing.
    pub(crate) fn made(field: Field, values: ArrayRef) -> Column {
        Column {
            is_nullable: field.is_nullable(),
            field,
            values,
            lineage: Vec::new(),
            unavailable: None,
        }
    }

    /// One made of this one, which may be null where this one has no such value.
    pub(crate) fn derived(&self, field: Field, values: ArrayRef) -> Column {
        Column {
            is_nullable: field.is_nullable(),
            field,
            values,
            lineage: self.lineage.clone(),
            unavailable: self.unavailable.clone(),
        }
    }

    /// Text that is no other type in disguise.
    pub(crate) fn is_text(&self) -> bool {
        use arrow::datatypes::DataType::{LargeUtf8, Utf8};
        matches!(self.field.data_type(), Utf8 | LargeUtf8) && LogicalType::of(&self.field).is_none()
    }

    pub(crate) fn is_binary(&self) -> bool {
        use arrow::datatypes::DataType::{Binary, LargeBinary};
        matches!(self.field.data_type(), Binary | LargeBinary) && LogicalType::of(&self.field).is_none()
    }

    pub(crate) fn is_json(&self) -> bool {
        LogicalType::of(&self.field) == Some(LogicalType::Json)
    }

    pub(crate) fn type_name(&self) -> String {
        match LogicalType::of(&self.field) {
            Some(logical) => logical.name().to_owned(),
            None => self.field.data_type().to_string(),
        }
    }
}

impl Frame {
    /// A stream's shape.
    pub(crate) fn of_schema(schema: &StreamSchema) -> Frame {
        let fields = schema.arrow().fields().iter().enumerate();
        Frame {
            stream: schema.stream().clone(),
            columns: fields
                .map(|(at, field)| Column {
                    field: Field::clone(field),
                    values: new_empty_array(field.data_type()),
                    is_nullable: field.is_nullable(),
                    lineage: vec![at],
                    unavailable: None,
                })
                .collect(),
            key: schema.key_names().map(str::to_owned).collect(),
            inputs: schema
                .arrow()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            rows: Vec::new(),
            may_drop: true,
        }
    }

    /// Rows of a stream.
    pub(crate) fn of_images(images: &Images) -> Frame {
        let mut frame = Frame::of_schema(&images.schema);
        let shape = images.rows.schema();
        for (at, column) in frame.columns.iter_mut().enumerate() {
            column.values = Arc::clone(images.rows.column(at));
            column.is_nullable |= shape.field(at).is_nullable();
            column.unavailable = images.unavailable.as_ref().and_then(|mask| mask.column(at).cloned());
        }
        frame.rows = (0..images.rows.num_rows() as u32).collect();
        frame.may_drop = images.may_drop;
        frame
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.field.name() == name)
    }

    pub(crate) fn is_key(&self, name: &str) -> bool {
        self.key.iter().any(|key| key == name)
    }

    /// Where the named columns are; those that are not there are an error, or left out where `is_strict` is not set.
    pub(crate) fn positions(&self, names: &[String], what: &'static str, is_strict: bool) -> Result<Vec<usize>, Error> {
        let mut positions = Vec::with_capacity(names.len());
        for name in names {
            match self.position(name) {
                Some(at) => positions.push(at),
                None if is_strict => return Err(self.no_column(name, what)),
                None => {}
            }
        }
        Ok(positions)
    }

    /// Refuses a column of which some value was not sent, by the name that it has at the source.
    pub(crate) fn check_available(&self, column: &Column, what: &'static str) -> Result<(), Error> {
        if column
            .unavailable
            .as_ref()
            .is_none_or(|mask| mask.count_set_bits() == 0)
        {
            return Ok(());
        }
        let input = column.lineage.first().and_then(|&at| self.inputs.get(at));
        Err(Error::Unavailable {
            what,
            stream: self.stream.clone(),
            column: input.unwrap_or(column.field.name()).clone(),
        })
    }

    pub(crate) fn no_column(&self, column: &str, what: &'static str) -> Error {
        Error::NoColumn {
            what,
            stream: self.stream.clone(),
            column: column.to_owned(),
            columns: self.columns.iter().map(|column| column.field.name().clone()).collect(),
        }
    }

    /// Adds a column as the last one.
    pub(crate) fn push(&mut self, column: Column) -> Result<(), Error> {
        if self.position(column.field.name()).is_some() {
            return Err(Error::Taken {
                stream: self.stream.clone(),
                column: column.field.name().clone(),
            });
        }
        self.columns.push(column);
        Ok(())
    }

    /// Lets only these rows go on.
    pub(crate) fn keep_rows(&mut self, kept: &BooleanArray) -> Result<(), Error> {
        for column in &mut self.columns {
            column.values = filter(&column.values, kept).map_err(|source| Error::Arrow {
                stream: self.stream.clone(),
                source,
            })?;
            if let Some(mask) = &column.unavailable {
                column.unavailable = Some(kept.values().set_indices().map(|row| mask.value(row)).collect());
            }
        }
        self.rows = kept.values().set_indices().map(|row| self.rows[row]).collect();
        Ok(())
    }

    /// The stream's shape after the transformations.
    pub(crate) fn schema(&self) -> Result<StreamSchema, Error> {
        let fields = self.columns.iter().map(|column| column.field.clone()).collect();
        StreamSchema::new(self.stream.clone(), fields, &self.key).map_err(|source| Error::Shape {
            stream: self.stream.clone(),
            source,
        })
    }

    /// The rows, in that shape.
    pub(crate) fn into_rows(self, schema: &Arc<StreamSchema>) -> Result<OutRows, Error> {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| column.field.clone().with_nullable(column.is_nullable))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let unavailable = Unavailable::new(self.columns.iter().map(|column| column.unavailable.clone()).collect());
        let values = self.columns.into_iter().map(|column| column.values).collect();
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options);
        Ok(OutRows {
            schema: Arc::clone(schema),
            rows: rows.map_err(|source| Error::Arrow {
                stream: self.stream,
                source,
            })?,
            input_rows: self.rows,
            unavailable,
        })
    }
}
