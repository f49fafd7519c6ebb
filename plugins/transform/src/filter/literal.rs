use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A value to compare with: a number, a text or a boolean. Read as the column's type when the schema is known.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Literal {
    /// `true` or `false`.
    Boolean(bool),
    /// A bare number.
    Number(serde_json::Number),
    /// Text; also how dates, times and exact decimals are written.
    Text(String),
}

impl Literal {
    /// The text that is read as the column's type.
    pub(super) fn text(&self) -> String {
        match self {
            Literal::Boolean(value) => value.to_string(),
            Literal::Number(value) => value.to_string(),
            Literal::Text(value) => value.clone(),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Boolean(value) => write!(f, "the boolean {value}"),
            Literal::Number(value) => write!(f, "the number {value}"),
            Literal::Text(value) => write!(f, "the text `{value}`"),
        }
    }
}
