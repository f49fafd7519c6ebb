//! What a route from a source to a destination promises: the weaker of what either can.

use api::{Capabilities, Guarantee, SourceCapabilities, WriteMode};

/// Of a source that reads everything anew, what an aborted reading brought comes again: to a key that is the same row, to
/// a destination that appends another one.
pub(crate) fn of_route(sends: &SourceCapabilities, can: &Capabilities, write: Option<WriteMode>) -> Guarantee {
    let only_appends = write == Some(WriteMode::Append) || can.writes == [WriteMode::Append];
    let of_source = match (sends.rereads, only_appends) {
        (false, _) => Guarantee::ExactlyOnce,
        (true, false) => Guarantee::EffectivelyOnceByKey,
        (true, true) => Guarantee::AtLeastOnce,
    };
    // The strongest comes first.
    can.guarantee.max(of_source)
}
