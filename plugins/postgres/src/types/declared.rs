//! The DDL type of a target column, for any field of the vocabulary.

use arrow::datatypes::{DataType, Field};
use model::LogicalType;

use super::encode::{is_nested, natural};
use super::{Kind, POSTGRES_TYPE, Scalar, TypeCatalogue};
use crate::identifier::Relation;

/// The type of a target column, which every server has.
///
/// A field that comes from PostgreSQL names its own type; types of the user and of extensions may not exist at the target,
/// so they become what their Arrow type becomes (see [`declared_type_at`]).
pub fn declared_type(field: &Field) -> String {
    match field.metadata().get(POSTGRES_TYPE) {
        Some(declared) if is_builtin(declared) && suits(field, declared) => declared.clone(),
        _ => from_arrow(field),
    }
}

/// The type of a target column in a database whose catalogue is known: also a type of the user or of an extension, if it
/// has one of that name.
pub fn declared_type_at(field: &Field, target: &TypeCatalogue) -> String {
    let named = field.metadata().get(POSTGRES_TYPE);
    match named.filter(|declared| !is_builtin(declared)) {
        Some(declared) => match find(declared, target) {
            Some(found) => found,
            None => from_arrow(field),
        },
        None => declared_type(field),
    }
}

/// Built-ins are spelled without a schema, others quoted with theirs.
fn is_builtin(declared: &str) -> bool {
    !declared.starts_with('"') || declared.trim_end_matches("[]") == Scalar::Char.declared()
}

/// `"schema"."name"(modifier)[]...` in the target.
fn find(declared: &str, target: &TypeCatalogue) -> Option<String> {
    let base = declared.trim_end_matches("[]");
    let (schema, rest) = take_ident(base)?;
    let (name, modifier) = take_ident(rest.strip_prefix('.')?)?;
    let brackets = &declared[base.len()..];
    if let Some(found) = target.find(Some(&schema), &name) {
        let is_usable = found.decodes_binary();
        return is_usable.then(|| format!("{}{modifier}{brackets}", found.relation()));
    }
    // Extensions live in the schema that their installer chose.
    let found = target.find(None, &name)?;
    let is_extension = matches!(&found.kind, Kind::Scalar(scalar) if scalar.oid() == 0);
    is_extension.then(|| format!("{}{modifier}{brackets}", Relation::new(found.schema.clone(), name)))
}

/// A quoted name at the start, and what follows it.
fn take_ident(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut name = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if body[at + 1..].starts_with('"') {
            chars.next();
            name.push('"');
        } else {
            return Some((name, &body[at + 1..]));
        }
    }
    None
}

/// Whether the field still has the type that its declaration speaks of: a transformer may have changed it.
fn suits(field: &Field, declared: &str) -> bool {
    let base = declared.trim_end_matches("[]");
    let is_list = matches!(field.data_type(), DataType::List(_));
    if base.len() != declared.len() {
        return is_list || field.data_type() == &DataType::Utf8;
    }
    let Some(scalar) = scalar_of(base) else {
        return field.data_type() == &DataType::Utf8;
    };
    match field.data_type() {
        DataType::Utf8 => true,
        DataType::UInt32 => matches!(scalar, Scalar::Oid | Scalar::Xid | Scalar::Cid),
        DataType::UInt64 => scalar == Scalar::Xid8,
        DataType::FixedSizeBinary(16) => matches!(scalar, Scalar::Uuid | Scalar::Bytea),
        DataType::Decimal128(..) if scalar == Scalar::Money => true,
        data_type => natural(data_type) == Some(scalar),
    }
}

/// The scalar that a declaration names, whatever its modifier.
fn scalar_of(declared: &str) -> Option<Scalar> {
    let mut plain = String::new();
    let mut depth = 0;
    for c in declared.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let plain = plain.trim();
    if plain.starts_with("interval") {
        return Some(Scalar::Interval);
    }
    Scalar::ALL
        .iter()
        .copied()
        .find(|scalar| scalar.oid() != 0 && (scalar.declared() == plain || scalar.name() == plain))
}

fn from_arrow(field: &Field) -> String {
    match LogicalType::of(field) {
        Some(LogicalType::Uuid) => return "uuid".to_owned(),
        Some(LogicalType::Json) => return "json".to_owned(),
        Some(LogicalType::Inet) => return "inet".to_owned(),
        Some(LogicalType::Mac) => return "macaddr".to_owned(),
        Some(LogicalType::Numeric) => return "numeric".to_owned(),
        Some(LogicalType::Interval) => return "interval".to_owned(),
        None => {}
    }
    match field.data_type() {
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            // Dimensions are part of the value, not of the type.
            DataType::List(_) => from_arrow(item),
            inner if is_nested(inner) => "json".to_owned(),
            _ => format!("{}[]", from_arrow(item)),
        },
        DataType::Struct(_) | DataType::Map(..) => "json".to_owned(),
        data_type => natural(data_type).map_or("text", Scalar::declared).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_vocabulary_has_a_column_type() {
        let declared: Vec<String> = api::conformance::type_cases::all()
            .iter()
            .map(|case| format!("{:<28} {}", case.name, declared_type(&case.field)))
            .collect();
        insta::assert_snapshot!(declared.join("\n"));
    }

    #[test]
    fn declared_types_are_kept_unless_the_field_was_changed() {
        let field = |data_type, declared: &str| {
            let metadata = [(POSTGRES_TYPE.to_owned(), declared.to_owned())];
            Field::new("a", data_type, true).with_metadata(metadata.into())
        };
        let check = |data_type, declared, expected: &str| {
            assert_eq!(declared_type(&field(data_type, declared)), expected);
        };
        check(DataType::Utf8, "character varying(20)", "character varying(20)");
        check(
            DataType::Utf8,
            "timestamp(3) with time zone",
            "timestamp(3) with time zone",
        );
        check(DataType::Int64, "integer", "bigint");
        check(DataType::Decimal128(10, 2), "numeric(10,2)", "numeric(10,2)");
        check(DataType::Decimal128(19, 2), "money", "money");
        check(DataType::Utf8, "\"public\".\"mood\"", "text");
        check(DataType::Boolean, "text", "boolean");
    }

    #[test]
    fn quoted_names_are_taken_apart() {
        assert_eq!(
            take_ident(r#""a""b"."c"(3)"#),
            Some((r#"a"b"#.to_owned(), r#"."c"(3)"#))
        );
        assert_eq!(take_ident("a"), None);
    }
}
