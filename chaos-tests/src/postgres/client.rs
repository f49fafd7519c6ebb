//! A blocking client: whoever drives the drill has nothing else to do meanwhile.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A query that takes longer hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// One session.
pub struct Client {
    runtime: Runtime,
    session: tokio_postgres::Client,
}

impl Client {
    /// Connects to `url`.
    pub fn connect(url: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let session = runtime.block_on(async {
            let (session, connection) = tokio_postgres::connect(url, NoTls).await.map_err(io::Error::other)?;
            // Ends with the session; its error is also that of the query that was under way.
            tokio::spawn(connection);
            Ok::<_, io::Error>(session)
        })?;
        Ok(Client { runtime, session })
    }

    /// Runs statements one after the other, as one message; the rows of all of them, as text.
    pub fn rows(&self, sql: &str) -> io::Result<Vec<Vec<Option<String>>>> {
        let answer = async { tokio::time::timeout(ANSWERS_WITHIN, self.session.simple_query(sql)).await };
        let messages = self.runtime.block_on(answer)?.map_err(as_io)?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first value of the first row.
    pub fn value(&self, sql: &str) -> io::Result<Option<String>> {
        Ok(self
            .rows(sql)?
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .flatten())
    }
}

/// Says what the server said: the error's own text is only `db error`.
fn as_io(error: tokio_postgres::Error) -> io::Error {
    match error.as_db_error() {
        Some(said) => io::Error::other(format!("{}: {}", said.code().code(), said.message())),
        None => io::Error::new(io::ErrorKind::ConnectionAborted, error),
    }
}

/// Whether the server refused the statement itself; anything else may have another outcome when it is tried again.
pub fn is_refusal(error: &io::Error) -> bool {
    // Shutdown, crash and start of the server are class 57P.
    error.kind() == io::ErrorKind::Other && !error.to_string().starts_with("57P")
}
