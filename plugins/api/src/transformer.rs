use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use model::{
    Batch, Before, Body, ChangeSet, Control, OutRows, StreamId, StreamSchema, Transformed, Unavailable, gone, recut,
};

use crate::{Error, Result, Retry};

/// Row images of one stream, as a transformer sees them: neither operations nor positions.
#[derive(Debug, Clone)]
pub struct Images {
    /// Their shape.
    pub schema: Arc<StreamSchema>,
    /// The rows.
    pub rows: RecordBatch,
    /// Values that were not sent. An expression over one of them is an error.
    pub unavailable: Option<Unavailable>,
    /// Whether rows may be dropped. Without it every row must come out, changed but not judged: these are old keys, of which
    /// the rest is not known.
    pub may_drop: bool,
}

/// The shape that a stream has behind a transformer.
#[derive(Debug, Clone)]
pub struct OutSchema {
    /// The shape. It keeps the stream's name.
    pub schema: Arc<StreamSchema>,
    /// For each column, the input columns that it depends on.
    pub lineage: Vec<Vec<usize>>,
}

/// A function of row images.
///
/// The runtime calls [`transform_changeset`], which feeds it new and old images and puts operations, commits and masks back.
#[async_trait]
pub trait Transformer: Send {
    /// The shapes that a stream has behind it; none if all its rows are dropped. Pure.
    async fn output_schema(&self, input: &Arc<StreamSchema>) -> Result<Vec<OutSchema>>;

    /// Transforms rows. Says for each output row which input row it came from; those numbers do not decrease.
    async fn transform(&mut self, input: &Images) -> Result<Vec<OutRows>>;
}

/// Applies a transformer to everything in a changeset. Positions stay as they are.
pub async fn transform_changeset(transformer: &mut dyn Transformer, changeset: &ChangeSet) -> Result<ChangeSet> {
    let body = match &changeset.body {
        Body::Rows(batches) => {
            let mut out = Vec::with_capacity(batches.len());
            for batch in batches {
                out.extend(transform_batch(transformer, batch).await?);
            }
            return Ok(ChangeSet {
                marker: changeset.marker,
                ..ChangeSet::part(changeset.part, changeset.delta.clone(), out)
            });
        }
        Body::Control(control) => transform_control(transformer, control).await?,
    };
    Ok(match body {
        Some(control) => changeset.with_control(control),
        None => changeset.emptied(),
    })
}

async fn transform_batch(transformer: &mut dyn Transformer, batch: &Batch) -> Result<Vec<Batch>> {
    let images = |rows, unavailable, may_drop| Images {
        schema: Arc::clone(&batch.schema),
        rows,
        unavailable,
        may_drop,
    };
    let after = transformer
        .transform(&images(batch.rows.clone(), batch.unavailable.clone(), true))
        .await?;
    let before = match &batch.before {
        Some(before) => transform_before(transformer, batch, before).await?,
        None => Vec::new(),
    };
    let gone = gone(batch, &after);
    let gone = transform_some(
        transformer,
        &images(batch.rows.clone(), batch.unavailable.clone(), false),
        &gone,
    )
    .await?;
    recut(batch, Transformed { after, before, gone }).map_err(|error| {
        Error::new(
            "E0601",
            Retry::Never,
            format!("cannot transform a batch of `{}`", batch.schema.stream()),
        )
        .caused_by(error)
    })
}

/// Old images: whole ones are judged; of the others only the key is known, so they are changed but not judged.
async fn transform_before(transformer: &mut dyn Transformer, batch: &Batch, before: &Before) -> Result<Vec<OutRows>> {
    let is_whole = |row: usize| !before.unavailable.as_ref().is_some_and(|u| u.any_in_row(row));
    let present = (0..batch.len()).filter(|&row| before.present.value(row));
    let (whole, partial): (Vec<u32>, Vec<u32>) = {
        let (whole, partial): (Vec<usize>, Vec<usize>) = present.partition(|&row| is_whole(row));
        (
            whole.into_iter().map(|r| r as u32).collect(),
            partial.into_iter().map(|r| r as u32).collect(),
        )
    };
    let images = |may_drop| Images {
        schema: Arc::clone(&batch.schema),
        rows: before.rows.clone(),
        unavailable: before.unavailable.clone(),
        may_drop,
    };
    let mut out = transform_some(transformer, &images(true), &whole).await?;
    for (place, rows) in transform_some(transformer, &images(false), &partial)
        .await?
        .into_iter()
        .enumerate()
    {
        match out.get_mut(place) {
            Some(whole) => *whole = merge(whole, &rows)?,
            None => out.push(rows),
        }
    }
    Ok(out)
}

/// Transforms some rows of `images`; the answer's row numbers are those of `images`.
async fn transform_some(transformer: &mut dyn Transformer, images: &Images, rows: &[u32]) -> Result<Vec<OutRows>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    if rows.len() == images.rows.num_rows() {
        return transformer.transform(images).await;
    }
    let some = images.some(rows)?;
    let mut outs = transformer.transform(&some).await?;
    for out in &mut outs {
        for row in &mut out.input_rows {
            *row = rows[*row as usize];
        }
    }
    Ok(outs)
}

impl Images {
    fn some(&self, rows: &[u32]) -> Result<Images> {
        let indices = arrow::array::UInt32Array::from(rows.to_vec());
        let taken =
            arrow::compute::take_record_batch(&self.rows, &indices).map_err(|e| cut_error(self.schema.stream(), e))?;
        let unavailable = self.unavailable.as_ref().and_then(|from| {
            Unavailable::new(
                (0..from.column_count())
                    .map(|column| {
                        from.column(column)
                            .map(|mask| rows.iter().map(|&r| mask.value(r as usize)).collect())
                    })
                    .collect(),
            )
        });
        Ok(Images {
            schema: Arc::clone(&self.schema),
            rows: taken,
            unavailable,
            may_drop: self.may_drop,
        })
    }
}

/// Two answers for one output stream, interleaved by input row.
fn merge(a: &OutRows, b: &OutRows) -> Result<OutRows> {
    let mut order: Vec<(u32, usize, usize)> = Vec::with_capacity(a.input_rows.len() + b.input_rows.len());
    for (part, out) in [a, b].into_iter().enumerate() {
        order.extend(out.input_rows.iter().enumerate().map(|(at, &row)| (row, part, at)));
    }
    order.sort_unstable();
    let indices: Vec<(usize, usize)> = order.iter().map(|&(_, part, at)| (part, at)).collect();
    let columns = (0..a.rows.num_columns())
        .map(|c| arrow::compute::interleave(&[a.rows.column(c).as_ref(), b.rows.column(c).as_ref()], &indices))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| cut_error(a.schema.stream(), e))?;
    let rows = RecordBatch::try_new(a.rows.schema(), columns).map_err(|e| cut_error(a.schema.stream(), e))?;
    let masks = [a, b].map(|out| out.unavailable.as_ref());
    let column = |c: usize| {
        let set = |&(part, at): &(usize, usize)| masks[part].is_some_and(|mask| mask.is_set(at, c));
        Some(indices.iter().map(set).collect())
    };
    let unavailable = Unavailable::new((0..rows.num_columns()).map(column).collect());
    Ok(OutRows {
        schema: Arc::clone(&a.schema),
        rows,
        input_rows: order.iter().map(|&(row, ..)| row).collect(),
        unavailable,
    })
}

fn cut_error(stream: &StreamId, error: arrow::error::ArrowError) -> Error {
    Error::new(
        "E0601",
        Retry::Never,
        format!("cannot cut a batch of `{stream}` for a transformer"),
    )
    .caused_by(error)
}

/// The control behind the transformer; `None` if the stream does not come through.
async fn transform_control(transformer: &mut dyn Transformer, control: &Control) -> Result<Option<Control>> {
    let schema = match control {
        Control::BeginRead { schema, .. } | Control::Schema { schema } => schema,
        other => return Ok(Some(other.clone())),
    };
    let Some(out) = transformer.output_schema(schema).await?.into_iter().next() else {
        return Ok(None);
    };
    if out.schema.stream() != schema.stream() {
        let message = format!(
            "cannot rename stream `{}` to `{}` in a transformer",
            schema.stream(),
            out.schema.stream()
        );
        return Err(Error::new("E0602", Retry::Operator, message)
            .hint("rename it at the destination; checkpoints are kept by the source's stream names"));
    }
    Ok(Some(match control {
        Control::BeginRead {
            run,
            destinations,
            empty_first,
            ..
        } => Control::BeginRead {
            schema: out.schema,
            run: *run,
            destinations: destinations.clone(),
            empty_first: *empty_first,
        },
        _ => Control::Schema { schema: out.schema },
    }))
}
