//! What the server's own errors ask for.

use std::fmt;

use tokio_postgres::error::SqlState;

/// What helps against an error of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Time: a lost connection, a deadlock, a server that starts.
    Passing,
    /// An operator: rights, room, settings.
    Operator,
    /// A row is refused: its value, or a constraint.
    Row,
    /// Nothing.
    Never,
}

/// Whether nobody knows what the server did last.
pub(crate) fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => code.code().starts_with("08") || code.code().starts_with("57P"),
        // Not the server's word: the stream ended, or broke.
        None => true,
    }
}

/// Whether the same statements may succeed when they are sent again: somebody else was in the way.
pub(crate) fn is_contention(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(&SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::LOCK_NOT_AVAILABLE)
    )
}

/// Whether another row has the key, or another unique value.
pub(crate) fn is_unique_violation(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Sorts an error by what helps.
pub(crate) fn class(error: &tokio_postgres::Error) -> Class {
    let Some(code) = error.code() else {
        return Class::Passing;
    };
    if is_connection_lost(error) || is_contention(error) {
        return Class::Passing;
    }
    // Classes of Appendix A, PostgreSQL Error Codes.
    match &code.code()[..2] {
        // Data exception, constraint violation, cardinality violation; an exception that a trigger raised.
        "22" | "23" | "21" | "P0" => Class::Row,
        // Insufficient resources: too many connections pass, a full disk does not.
        "53" if *code != SqlState::DISK_FULL => Class::Passing,
        // System error, transaction rollback, query cancelled.
        "58" | "40" => Class::Passing,
        "57" => Class::Passing,
        // A read-only server is a standby, or being failed over.
        "25" => Class::Passing,
        // Authorization, rights and names, disk full, limits of the server, prerequisites.
        "28" | "42" | "3D" | "3F" | "53" | "54" | "55" | "2B" => Class::Operator,
        _ => Class::Never,
    }
}

/// What to do, where the code says it.
pub(crate) fn hint(error: &tokio_postgres::Error) -> Option<String> {
    let db = error.as_db_error()?;
    let code = db.code();
    let hint = if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "`highwater validate --connect` prints the role and the GRANTs that are needed".to_owned()
    } else if *code == SqlState::DISK_FULL {
        "free space on the disk of the server".to_owned()
    } else if *code == SqlState::FOREIGN_KEY_VIOLATION {
        format!(
            "rows of different tables come in different commits while they are first read: drop constraint `{}` until \
             every stream is live, or set `triggers: skip`",
            db.constraint().unwrap_or("?")
        )
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        "this server is a standby or set to read-only; name the primary".to_owned()
    } else if *code == SqlState::UNIQUE_VIOLATION {
        format!(
            "constraint `{}` is not the key: make it DEFERRABLE INITIALLY DEFERRED, or drop it",
            db.constraint().unwrap_or("?")
        )
    } else {
        return db.hint().map(str::to_owned);
    };
    Some(hint)
}

/// The column that the server names: directly, or where a COPY stood (`COPY t, line 3, column c`).
pub(crate) fn column(error: &tokio_postgres::Error) -> Option<String> {
    let db = error.as_db_error()?;
    if let Some(column) = db.column() {
        return Some(column.to_owned());
    }
    let (_, after) = db.where_()?.split_once(", column ")?;
    let end = after.find([':', '\n']).unwrap_or(after.len());
    Some(after[..end].trim().to_owned())
}

/// The constraint that the server names.
pub(crate) fn constraint(error: &tokio_postgres::Error) -> Option<&str> {
    error.as_db_error()?.constraint()
}

/// A server's error as a cause: its message, without the detail, which would show values of the row.
#[derive(Debug)]
pub(crate) struct Said(String);

impl Said {
    pub(crate) fn of(error: tokio_postgres::Error) -> Said {
        match error.as_db_error() {
            Some(db) => Said(format!("{} ({})", without_values(db), db.code().code())),
            None => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                Said(cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")))
            }
        }
    }
}

/// Messages of class 22 quote the value (`invalid input syntax for type integer: "x"`); what stands before it is enough.
fn without_values(db: &tokio_postgres::error::DbError) -> String {
    let message = db.message();
    match (db.code().code().starts_with("22"), message.split_once(": \"")) {
        (true, Some((before, _))) => before.to_owned(),
        _ => message.to_owned(),
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}
