//! A table as the protocol describes it: an Arrow schema with `cq:` metadata.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use crate::guard::shortened;

const NAME: &str = "cq:table_name";
const DESCRIPTION: &str = "cq:table_description";
const TITLE: &str = "cq:table_title";
const CONSTRAINT_NAME: &str = "cq:extension:constraint_name";
const DEPENDS_ON: &str = "cq:table_depends_on";
const PAID: &str = "cq:table_paid";
const PERMISSIONS_NEEDED: &str = "cq:table_permissions_needed";
const SENSITIVE_COLUMNS: &str = "cq:table_sensitive_columns";
/// Of a table, and of its cursor columns.
const INCREMENTAL: &str = "cq:extension:incremental";
const PRIMARY_KEY: &str = "cq:extension:primary_key";
const PRIMARY_KEY_COMPONENT: &str = "cq:extension:primary_key_component";
const UNIQUE: &str = "cq:extension:unique";
const TYPE_SCHEMA: &str = "cq:extension:type_schema";

/// The longest name of a table or a column that is taken from a plugin. PostgreSQL cuts at 63 bytes, MySQL at 64.
const NAME_BYTES_MAX: usize = 1_024;

/// Why a schema does not describe a table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// Nothing says which table it is.
    #[error("cannot read a table: its schema has no `cq:table_name`")]
    NoName,
    /// A name that no destination could take.
    #[error("cannot read table `{table}`: {what}")]
    Name {
        /// The table, cut.
        table: String,
        /// What is wrong with a name.
        what: &'static str,
    },
}

/// A column of a table: its field on the wire, extension type included, and what the protocol says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, type, nullability, and all metadata that is not the protocol's.
    pub field: Field,
    /// Part of the primary key.
    pub is_key: bool,
    /// Unique by itself.
    pub is_unique: bool,
    /// A cursor of an incremental table.
    pub is_incremental: bool,
    /// Part of what `_cq_id` is a hash of.
    pub is_key_component: bool,
    /// The shape of a JSON column, in the protocol's own grammar; empty if unknown.
    pub type_schema: String,
}

impl Column {
    /// A column with no marks.
    pub fn new(field: Field) -> Self {
        Column {
            field,
            is_key: false,
            is_unique: false,
            is_incremental: false,
            is_key_component: false,
            type_schema: String::new(),
        }
    }

    /// The same, in the primary key or not.
    #[must_use]
    pub fn key(mut self, is_key: bool) -> Self {
        self.is_key = is_key;
        self
    }

    fn of_field(field: &Field) -> Self {
        let mut metadata = field.metadata().clone();
        let mut is_set = |key| metadata.remove(key).is_some_and(|value| value == "true");
        let mut column = Column {
            is_key: is_set(PRIMARY_KEY),
            is_unique: is_set(UNIQUE),
            is_incremental: is_set(INCREMENTAL),
            is_key_component: is_set(PRIMARY_KEY_COMPONENT),
            type_schema: metadata.remove(TYPE_SCHEMA).unwrap_or_default(),
            field: field.clone(),
        };
        column.field.set_metadata(metadata);
        column
    }

    fn to_field(&self) -> Field {
        let mut metadata = self.field.metadata().clone();
        let flags = [
            (PRIMARY_KEY, self.is_key),
            (UNIQUE, self.is_unique),
            (INCREMENTAL, self.is_incremental),
            (PRIMARY_KEY_COMPONENT, self.is_key_component),
        ];
        metadata.extend(flags.map(|(key, is_set)| (key.to_owned(), is_set.to_string())));
        metadata.insert(TYPE_SCHEMA.to_owned(), self.type_schema.clone());
        self.field.clone().with_metadata(metadata)
    }
}

/// A table: what its schema on the wire says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// For a reader; may be empty.
    pub title: String,
    /// For a reader; may be empty.
    pub description: String,
    /// The name of its primary key constraint; may be empty.
    pub constraint_name: String,
    /// Whether its source keeps a cursor, so that a sync brings only what is new.
    pub is_incremental: bool,
    /// The table whose rows its rows belong to.
    pub parent: Option<String>,
    /// Whether its vendor wants to be paid for it.
    pub is_paid: bool,
    /// What a credential must be allowed.
    pub permissions_needed: Vec<String>,
    /// Columns that hold secrets.
    pub sensitive_columns: Vec<String>,
    /// Its columns.
    pub columns: Vec<Column>,
}

impl Table {
    /// A table without columns.
    pub fn named(name: impl Into<String>) -> Self {
        Table {
            name: name.into(),
            ..Table::default()
        }
    }

    /// Reads a schema. Keys that are missing are false or empty, as the other SDKs leave them out.
    pub fn of_schema(schema: &Schema) -> Result<Self, TableError> {
        let metadata = schema.metadata();
        let text = |key: &str| metadata.get(key).cloned().unwrap_or_default();
        let is_set = |key: &str| metadata.get(key).is_some_and(|value| value == "true");
        // `null`, and a list of anything but texts, is none.
        let list = |key: &str| -> Vec<String> {
            let text = metadata.get(key).map_or("null", String::as_str);
            serde_json::from_str(text).unwrap_or_default()
        };
        let name = metadata.get(NAME).cloned().ok_or(TableError::NoName)?;
        check_name(&name, &name)?;
        for field in schema.fields() {
            check_name(&name, field.name())?;
        }
        Ok(Table {
            title: text(TITLE),
            description: text(DESCRIPTION),
            constraint_name: text(CONSTRAINT_NAME),
            is_incremental: is_set(INCREMENTAL),
            parent: Some(text(DEPENDS_ON)).filter(|parent| !parent.is_empty()),
            is_paid: is_set(PAID),
            permissions_needed: list(PERMISSIONS_NEEDED),
            sensitive_columns: list(SENSITIVE_COLUMNS),
            columns: schema.fields().iter().map(|field| Column::of_field(field)).collect(),
            name,
        })
    }

    /// The schema on the wire; also what each record of the table carries.
    pub fn to_schema(&self) -> Schema {
        let list = |of: &[String]| serde_json::Value::from(of).to_string();
        let mut metadata: HashMap<String, String> = [
            (NAME, self.name.clone()),
            // Python cannot do without it.
            (DESCRIPTION, self.description.clone()),
            (TITLE, self.title.clone()),
            (CONSTRAINT_NAME, self.constraint_name.clone()),
            (PERMISSIONS_NEEDED, list(&self.permissions_needed)),
            (SENSITIVE_COLUMNS, list(&self.sensitive_columns)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        // Go leaves these out unless they say something.
        let mut say = |key: &str, value: &str| metadata.insert(key.to_owned(), value.to_owned());
        if self.is_incremental {
            say(INCREMENTAL, "true");
        }
        if self.is_paid {
            say(PAID, "true");
        }
        if let Some(parent) = &self.parent {
            say(DEPENDS_ON, parent);
        }
        let fields: Vec<_> = self.columns.iter().map(|column| Arc::new(column.to_field())).collect();
        Schema::new_with_metadata(fields, metadata)
    }
}

fn check_name(table: &str, name: &str) -> Result<(), TableError> {
    let what = if name.is_empty() {
        "a name is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "a name is longer than 1024 bytes"
    } else if name.contains('\0') {
        "a name contains the character 0"
    } else {
        return Ok(());
    };
    Err(TableError::Name {
        table: shortened(table),
        what,
    })
}
