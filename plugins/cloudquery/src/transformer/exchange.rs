//! One call: everything in, our half closed, everything out.

use arrow::array::RecordBatch;
use bytes::Bytes;
use proto::Decoder;
use proto::plugin_v3::transform;

use crate::error::{Error, Result};
use crate::plugin::Plugin;

/// What a plugin may answer to one call, beyond what it was sent: an answer without end must not take our memory.
const GROWTH_MAX: usize = 64;
/// And at least this much.
const ANSWER_BYTES_MIN: usize = 64 << 20;

/// Sends records, and reads until the plugin has nothing more to say.
pub(super) async fn exchange(plugin: &Plugin, records: Vec<Bytes>) -> Result<Vec<RecordBatch>> {
    let sent: usize = records.iter().map(Bytes::len).sum();
    let most = sent.saturating_mul(GROWTH_MAX).max(ANSWER_BYTES_MIN);
    // The end of this iterator is the end of our half.
    let requests = tokio_stream::iter(records.into_iter().map(|record| transform::Request { record }));
    let mut answers = plugin.call("Transform", plugin.client().transform(requests)).await?;
    let (mut received, mut decoder, mut rows) = (0, Decoder::default(), Vec::new());
    loop {
        let answer = match tokio::time::timeout(plugin.timeout(), answers.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Ok(rows),
            Ok(Err(status)) => return Err(plugin.failed("Transform", &status).await),
            Err(_) => {
                return Err(Error::Deadline {
                    plugin: plugin.name().to_owned(),
                    call: "Transform",
                    after: plugin.timeout(),
                });
            }
        };
        received += answer.record.len();
        if received > most {
            return Err(Error::Protocol {
                plugin: plugin.name().to_owned(),
                what: format!("it answered {sent} bytes of rows with more than {most}"),
            });
        }
        let record = decoder.record(&answer.record).map_err(|source| Error::Payload {
            plugin: plugin.name().to_owned(),
            source,
        })?;
        if record.num_rows() > 0 {
            rows.push(record);
        }
    }
}
