//! A key's value for a message that must say which row it is.

use super::PgType;
use super::text_form::write_text;

/// Characters of one value in a message.
const CHARS_MAX: usize = 100;

/// The text of a value in binary form, cut if it is long; `NULL` for none.
pub fn key_text(ty: &PgType, value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "NULL".to_owned() };
    let mut text = String::new();
    if write_text(ty, value, &mut text).is_err() {
        text = String::from_utf8_lossy(value).into_owned();
    }
    if text.chars().count() > CHARS_MAX {
        text = text.chars().take(CHARS_MAX).chain("...".chars()).collect();
    }
    text
}
