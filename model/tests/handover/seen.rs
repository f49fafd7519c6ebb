//! What happened in the simulated histories: a situation that never came up proves nothing.

macro_rules! seen {
    ($($name:ident),* $(,)?) => {
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub(crate) struct Seen {
            $(pub(crate) $name: u64,)*
        }

        impl Seen {
            pub(crate) fn add(&mut self, other: &Seen) {
                $(self.$name += other.$name;)*
            }

            /// The names of what was never seen.
            pub(crate) fn missing(&self) -> Vec<&'static str> {
                let counts = [$((stringify!($name), self.$name)),*];
                counts.into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

seen! {
    commits,
    checks_of_partly_read_tables,
    pages,
    empty_pages,
    uneven_resumes,
    progress,
    truncates,
    truncates_while_reading,
    truncates_between_rows,
    cut_transactions,
    rows_passed_over,
    moves_into_held_pages,
    moves_out_of_held_pages,
    partial_replays,
    pages_passed_over,
    process_kills,
    kills_inside_a_transaction,
    destination_kills,
    rewinds_too_far,
    rewinds_out_of_reach,
    destinations_that_went_on_through_a_rewind,
    destinations_added,
    streams_added,
    resyncs,
    reads_superseded,
    reads_not_meant,
    log_released,
}
