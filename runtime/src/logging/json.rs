//! A line for programs.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::event::Line;

pub(super) fn render(line: &Line, now: Timestamp) -> String {
    let mut object = Map::new();
    object.insert("timestamp".to_owned(), Value::from(format!("{now:.3}")));
    object.insert("level".to_owned(), Value::from(line.level));
    object.insert("message".to_owned(), Value::from(line.message.as_str()));
    for (name, value) in &line.fields {
        object.insert((*name).to_owned(), value.clone());
    }
    format!("{}\n", Value::Object(object))
}
