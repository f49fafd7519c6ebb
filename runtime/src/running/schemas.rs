//! The shapes of streams, as a run would send them.

use std::collections::VecDeque;
use std::sync::Arc;

use api::{Error, OutSchema, PlannedStream, Result, Retry, Transformer};
use model::StreamSchema;

use super::look::Looked;
use crate::codes::E0742;

/// The schemas of the streams as a run would send them.
pub(crate) fn schemas(looked: &Looked) -> Result<Vec<Arc<StreamSchema>>> {
    let Ok(resolved) = &looked.resolved else {
        return Ok(Vec::new());
    };
    let planned = |stream: &PlannedStream| -> Option<Result<Arc<StreamSchema>>> {
        let schema = resolved
            .discovered
            .iter()
            .find(|schema| *schema.stream() == stream.id)?;
        Some(planned(schema, stream))
    };
    resolved.streams.iter().filter_map(planned).collect()
}

fn planned(schema: &Arc<StreamSchema>, stream: &PlannedStream) -> Result<Arc<StreamSchema>> {
    let cannot = |why: &str| Error::new(E0742.id, Retry::Never, format!("cannot migrate `{}`: {why}", stream.id));
    if !stream.types.is_empty() {
        let error = cannot("its columns have types of their own, which the source makes when it is read");
        return Err(error.hint("run `highwater sync`"));
    }
    if stream.exclude.is_empty() && stream.key.is_none() {
        return Ok(Arc::clone(schema));
    }
    let fields = schema.arrow().fields().iter();
    let fields = fields
        .filter(|field| !stream.exclude.contains(field.name()))
        .map(|field| field.as_ref().clone())
        .collect();
    let own = || schema.key_names().map(str::to_owned).collect();
    let key = stream.key.clone().unwrap_or_else(own);
    let schema = StreamSchema::new(stream.id.clone(), fields, key);
    schema
        .map(Arc::new)
        .map_err(|error| cannot("its key is not carried").caused_by(error))
}

/// What a stream is behind a chain of transformers.
pub(crate) async fn transformed(
    schema: Arc<StreamSchema>,
    transformers: &mut [Box<dyn Transformer>],
) -> Result<Vec<Arc<StreamSchema>>> {
    let mut schemas = VecDeque::from([schema]);
    for transformer in transformers {
        for _ in 0..schemas.len() {
            let Some(schema) = schemas.pop_front() else { break };
            let behind: Vec<OutSchema> = transformer.output_schema(&schema).await?;
            schemas.extend(behind.into_iter().map(|out| out.schema));
        }
    }
    Ok(schemas.into())
}
