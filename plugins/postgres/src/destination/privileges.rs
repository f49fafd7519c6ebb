//! The role that is enough, and what a role lacks.

use super::ledger::SCHEMA;
use super::session::{self, Manner};
use super::spec::Triggers;
use crate::identifier::{quote_ident, quote_literal};

/// The statements that make a role which can write a destination and no more, to be run by an administrator in the
/// database: what `validate --connect` prints.
///
/// `schemas` are those that tables go to. They belong to the role, so that it can change its tables as the source's change;
/// with none named, it may create them.
pub fn least_privilege(role: &str, database: &str, schemas: &[String], triggers: Triggers) -> Vec<String> {
    let (role_name, database) = (quote_ident(role), quote_ident(database));
    let create = if schemas.is_empty() { "CREATE, " } else { "" };
    let mut statements = vec![
        format!("CREATE ROLE {role_name} LOGIN PASSWORD '...'"),
        format!("GRANT CONNECT, {create}TEMPORARY ON DATABASE {database} TO {role_name}"),
    ];
    let ours = [SCHEMA.to_owned()];
    statements.extend(
        ours.iter()
            .chain(schemas)
            .map(|schema| format!("CREATE SCHEMA {} AUTHORIZATION {role_name}", quote_ident(schema))),
    );
    if triggers == Triggers::Skip {
        statements.push(format!(
            "GRANT SET ON PARAMETER session_replication_role TO {role_name}"
        ));
    }
    statements
}

/// What the role lacks. Changes nothing.
pub(crate) async fn check(manner: &Manner) -> Vec<api::Error> {
    match findings(manner).await {
        Ok(findings) => findings,
        Err(error) => vec![error.into()],
    }
}

async fn findings(manner: &Manner) -> super::error::Result<Vec<api::Error>> {
    let link = session::connect(manner).await?;
    let schemas: Vec<String> = manner.place.schema.iter().cloned().collect();
    let wanted = std::iter::once(SCHEMA.to_owned()).chain(schemas.iter().cloned());
    let literals: Vec<String> = wanted.map(|schema| quote_literal(&schema)).collect();
    let look = format!(
        "SELECT current_user, current_database(), pg_catalog.pg_is_in_recovery(), \
         has_database_privilege(current_database(), 'TEMP'), has_database_privilege(current_database(), 'CREATE'), \
         (SELECT string_agg(w, ', ') FROM unnest(ARRAY[{}]) w \
            LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w \
            WHERE CASE WHEN n.oid IS NULL THEN NOT has_database_privilege(current_database(), 'CREATE') \
              ELSE NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_schema_privilege(n.oid, 'CREATE') END), \
         (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)",
        literals.join(", ")
    );
    let rows = link
        .rows(&look)
        .await
        .map_err(super::error::sql("look at the rights of the role"))?;
    let cell = |at: usize| rows.first().and_then(|row| row.get(at)).unwrap_or_default().to_owned();
    let is_true = |at: usize| cell(at) == "t";
    let (role, database) = (cell(0), cell(1));
    let mut missing = Vec::new();
    if !is_true(3) {
        missing.push(format!("may not create temporary tables in database `{database}`"));
    }
    if manner.place.schema.is_none() && !is_true(4) {
        missing.push(format!("may not create schemas in database `{database}`"));
    }
    if !cell(5).is_empty() {
        missing.push(format!("may not create tables in schema {}", cell(5)));
    }
    if manner.triggers == Triggers::Skip {
        let probe = link
            .run("BEGIN; SET LOCAL session_replication_role = replica; ROLLBACK")
            .await;
        if probe.is_err() {
            let _ = link.run("ROLLBACK").await;
            missing.push("may not set `session_replication_role`, which `triggers: skip` needs".to_owned());
        }
    }
    let mut findings = Vec::new();
    if is_true(2) {
        let message = format!("cannot write to `{}`: the server is a standby", manner.settings);
        findings.push(api::Error::new("E0547", api::Retry::Operator, message).hint("name the primary"));
    }
    if !missing.is_empty() {
        let message = format!(
            "cannot write to `{}`: role `{role}` {}",
            manner.settings,
            missing.join(", and ")
        );
        findings.push(api::Error::new("E0544", api::Retry::Operator, message).hint(format!(
            "run as an administrator: {};",
            least_privilege(&role, &database, &schemas, manner.triggers)[1..].join("; ")
        )));
    }
    if is_true(6) {
        let message = format!(
            "role `{role}` is a superuser: writing `{}` needs far less",
            manner.settings
        );
        let enough = least_privilege("highwater", &database, &schemas, manner.triggers);
        findings.push(api::Error::new("N0549", api::Retry::Operator, message).hint(format!(
            "this is enough, run as an administrator: {};",
            enough.join("; ")
        )));
    }
    Ok(findings)
}
