use std::fmt;

/// Something that opening the store found and put right, which its owner should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The stable code: `W04xx` is worth a look, `N04xx` is what an ordinary kill leaves behind.
    pub code: &'static str,
    /// One clause: what was found, and what was done about it.
    pub message: String,
    /// What the reader may want to do.
    pub hint: Option<String>,
}

impl Notice {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Notice {
            code,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it is a warning; otherwise it is a note.
    pub fn is_warning(&self) -> bool {
        self.code.starts_with('W')
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
