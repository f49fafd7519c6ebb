//! The role that is enough to read, and what it takes to make one.

use api::Retry;
use model::StreamId;

use super::catalogue::Server;
use super::error::table;
use super::publication;
use crate::identifier::quote_ident;

/// The statements that make a role which can read these tables and no more, to be run by an administrator in the database:
/// what `validate --connect` prints.
///
/// Only the owner of a table can put it into a publication, and to own a table is far more than to read it: so the
/// administrator makes the publication, too.
pub fn least_privilege(role: &str, database: &str, publication: &str, tables: &[StreamId]) -> Vec<String> {
    let mut statements = grants(role, database, tables);
    let create = publication::create_statement(publication, tables);
    statements.push(create.trim_end_matches(';').to_owned());
    statements
}

fn grants(role: &str, database: &str, tables: &[StreamId]) -> Vec<String> {
    let role = quote_ident(role);
    let mut statements = vec![
        format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD '...'"),
        format!("GRANT CONNECT ON DATABASE {} TO {role}", quote_ident(database)),
    ];
    let mut schemas: Vec<&str> = tables.iter().filter_map(StreamId::schema).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let schemas: Vec<String> = schemas.into_iter().map(quote_ident).collect();
    if !schemas.is_empty() {
        let tables: Vec<String> = tables.iter().map(table).collect();
        statements.push(format!("GRANT USAGE ON SCHEMA {} TO {role}", schemas.join(", ")));
        statements.push(format!("GRANT SELECT ON {} TO {role}", tables.join(", ")));
    }
    statements
}

/// What is said of a role that may do everything.
pub(crate) fn more_than_enough(server: &Server, publication: Option<&str>, tables: &[StreamId]) -> Option<api::Error> {
    if !server.is_superuser {
        return None;
    }
    let (user, database) = (&server.user, &server.database);
    let message = format!("role `{user}` is a superuser: reading database `{database}` needs far less");
    let enough = match publication {
        Some(missing) => least_privilege("highwater", database, missing, tables),
        None => grants("highwater", database, tables),
    };
    let finding = api::Error::new("N0275", Retry::Operator, message);
    Some(finding.hint(format!(
        "this is enough, run as an administrator: {};",
        enough.join("; ")
    )))
}
