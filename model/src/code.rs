/// A stable error, warning or note code: what a message carries, and what `highwater explain` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `E`, `W` or `N` and four digits; the first two name the area.
    pub id: &'static str,
    /// One lower-case clause.
    pub title: &'static str,
    /// What it means, why it happens, what to do; Markdown.
    pub explain: &'static str,
}
