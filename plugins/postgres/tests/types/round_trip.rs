//! Every value out in both forms, and back in, compared to the last byte.

use highwater_plugin_postgres::types::{Kind, Override, declared_type_at, field};

use crate::cases::{CASES, Case, SETUP};
use crate::server::{Database, database};

async fn check(database: &mut Database, number: usize, case: &Case, wanted: Option<Override>) -> Result<(), String> {
    let (source, target) = (format!("s{number}"), format!("t{number}"));
    database
        .execute(&format!(
            "DROP TABLE IF EXISTS {source}, {target}; CREATE TABLE {source} (id serial, v {});",
            case.declared
        ))
        .await;
    for value in case.values.iter().chain(&["NULL"]) {
        database
            .execute(&format!("INSERT INTO {source} (v) VALUES ({value})"))
            .await;
    }
    let oid = database.type_of(&source).await;
    database.catalogue.look_up(&database.client, oid).await.unwrap();
    let column = database.column(&source).await;
    let field = field(&column, wanted).unwrap();
    assert!(model::carries(field.data_type()), "{}", case.declared);
    let binary = database
        .read_binary(&source, &column, &field)
        .await
        .map_err(|error| error.to_string())?;
    let text = database.read_text(&source, &column, &field).await;
    if binary != text {
        return Err(format!(
            "binary and text differ:\n{:?}\n{:?}",
            binary.column(0),
            text.column(0)
        ));
    }
    if matches!(column.ty.kind, Kind::ObjectName | Kind::Other) {
        return Ok(());
    }
    let declared = declared_type_at(&field, &database.catalogue);
    database
        .execute(&format!("CREATE TABLE {target} (id serial, v {declared})"))
        .await;
    let (left, right) = (database.declared(&source).await, database.declared(&target).await);
    if left != right {
        return Err(format!("the target column is `{right}`, the source's is `{left}`"));
    }
    database.write(&target, &binary).await?;
    let differences = database.differences(&source, &target).await;
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences.join("\n"))
    }
}

async fn check_all(wanted: Option<Override>) {
    let Some(mut database) = database(SETUP).await else {
        return;
    };
    let mut failures = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        if let Err(failure) = check(&mut database, number, case, wanted).await {
            failures.push(format!("{}: {failure}", case.declared));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test]
async fn every_type_goes_out_in_both_forms_alike_and_comes_back_the_same() {
    check_all(None).await;
}

#[tokio::test]
async fn every_type_as_text_goes_out_in_both_forms_alike_and_comes_back_the_same() {
    check_all(Some(Override::Text)).await;
}
