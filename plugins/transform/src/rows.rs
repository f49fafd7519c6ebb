use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use model::{SchemaId, StreamSchema};

/// `columns` as rows of `schema`. A column is nullable there if it is so in `like`, the rows that it was taken from:
/// a value that was not sent is carried as null.
pub(crate) fn rows_as(
    schema: &StreamSchema,
    like: &[&Field],
    columns: Vec<ArrayRef>,
    row_count: usize,
) -> Result<RecordBatch, ArrowError> {
    let nullable = |(field, like): (&Arc<Field>, &&Field)| Field::clone(field).with_nullable(like.is_nullable());
    let fields: Vec<Field> = schema.arrow().fields().iter().zip(like).map(nullable).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(row_count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// What was compiled for each schema met. Schemas of a stream are few and ids are hashes of their content, so nothing here
/// grows with rows or goes stale.
pub(crate) struct BySchema<T>(HashMap<SchemaId, Arc<T>>);

impl<T> Default for BySchema<T> {
    fn default() -> Self {
        BySchema(HashMap::new())
    }
}

impl<T> BySchema<T> {
    pub(crate) fn get<E>(
        &mut self,
        schema: &Arc<StreamSchema>,
        compile: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(compiled) = self.0.get(&schema.id()) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(compile()?);
        self.0.insert(schema.id(), Arc::clone(&compiled));
        Ok(compiled)
    }
}
