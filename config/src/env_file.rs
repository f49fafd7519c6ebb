//! Files of variables, for `--env-file`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::codes;
use crate::finding::Finding;

/// Reads lines of `NAME=value`.
///
/// Empty lines and lines that begin with `#` mean nothing; `export` before a name is allowed; a value may stand in single
/// or double quotes, which are dropped. Nothing is expanded, and `#` inside a value belongs to it.
///
/// # Errors
/// A finding if the file cannot be read, or for each line that is not of that form. It names the line and never its text.
pub fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, Vec<Finding>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Finding::error(
            &codes::E0120,
            format!("cannot read env file `{name}`: {error}"),
        )]
    })?;
    let mut variables = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.strip_prefix("export ").unwrap_or(line).split_once('=');
        let Some((variable, value)) = pair.filter(|(variable, _)| is_variable(variable.trim())) else {
            let message = format!("cannot read env file `{name}`: line {} is not `NAME=value`", index + 1);
            findings.push(Finding::error(&codes::E0120, message));
            continue;
        };
        variables.insert(variable.trim().to_owned(), unquoted(value.trim()).to_owned());
    }
    if findings.is_empty() {
        Ok(variables)
    } else {
        Err(findings)
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_become_variables_and_bad_ones_are_named_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(
            &path,
            "# a comment\nA=1\nexport B = \"two words\"\n\nC='x#y'\nD=\nE=${A}\n",
        )
        .unwrap();
        let variables = read_env_file(&path).unwrap();
        let pairs: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("A", "1"), ("B", "two words"), ("C", "x#y"), ("D", ""), ("E", "${A}")]
        );
        std::fs::write(&path, "A=1\nhunter2000\n").unwrap();
        let findings = read_env_file(&path).unwrap_err();
        let message = &findings[0].message;
        assert!(
            message.ends_with("line 2 is not `NAME=value`") && !message.contains("hunter"),
            "{message}"
        );
    }
}
