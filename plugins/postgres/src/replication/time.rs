use std::fmt;

/// Microseconds between 1970 and 2000.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A moment on the server's clock: microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerTime(pub i64);

impl ServerTime {
    /// Now, on this machine's clock.
    pub fn now() -> Self {
        ServerTime(jiff::Timestamp::now().as_microsecond().saturating_sub(EPOCH_MICROS))
    }

    /// Microseconds since 1970.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_MICROS)
    }
}

impl fmt::Debug for ServerTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.unix_micros()) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "ServerTime({})", self.0),
        }
    }
}
