//! Where what was translated really stands: findings name places in the document that somebody wrote.

use crate::finding::Finding;

/// Pointers of the translation with those in CloudQuery's documents.
#[derive(Default)]
pub(crate) struct Homes {
    homes: Vec<(String, String)>,
}

impl Homes {
    /// Everything at and below `translated` stands at and below `home`.
    pub(super) fn put(&mut self, translated: impl Into<String>, home: impl Into<String>) {
        self.homes.push((translated.into(), home.into()));
    }

    /// Gives a finding the pointers of the document.
    pub(crate) fn bring_home(&self, finding: &mut Finding) {
        let paths = [finding.path.as_mut(), finding.fix.as_mut().map(|fix| &mut fix.path)];
        for path in paths.into_iter().flatten() {
            if let Some(home) = self.of(path) {
                *path = home;
            }
        }
    }

    fn of(&self, pointer: &str) -> Option<String> {
        let inside = |(translated, home): &(String, String)| {
            let rest = pointer.strip_prefix(translated.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (translated.len(), format!("{home}{rest}")))
        };
        let found = self.homes.iter().filter_map(inside).max_by_key(|(length, _)| *length);
        found.map(|(_, home)| home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pointer_wins() {
        let mut homes = Homes::default();
        homes.put("/sources/x", "/spec");
        homes.put("/sources/x/spec/plugin", "/spec");
        assert_eq!(homes.of("/sources/x/spec/plugin/path").as_deref(), Some("/spec/path"));
        assert_eq!(homes.of("/sources/x").as_deref(), Some("/spec"));
        assert_eq!(homes.of("/sources/xy"), None);
    }
}
