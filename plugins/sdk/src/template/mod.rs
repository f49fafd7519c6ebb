//! A crate to begin with: a sample that works, its tests, and how to go on.
//!
//! The Rust files are parts of this crate's own tests, so that what is written out is what was tested.

use crate::Kind;

/// Where the SDK comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdkFrom {
    /// A registry, at this version.
    Version(String),
    /// A git repository.
    Git(String),
    /// A checkout of Highwater.
    Path(String),
}

impl SdkFrom {
    /// As Cargo wants it.
    fn dependency(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            SdkFrom::Version(version) => quoted(version),
            SdkFrom::Git(url) => format!("{{ git = {} }}", quoted(url)),
            SdkFrom::Path(checkout) => {
                let path = format!("{}/plugins/sdk", checkout.trim_end_matches('/'));
                format!("{{ path = {} }}", quoted(&path))
            }
        }
    }
}

/// Why no crate can be called so; `None` if one can.
pub fn refuse_name(name: &str) -> Option<&'static str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    match name.chars().next() {
        None => Some("it is empty"),
        Some(first) if !first.is_ascii_lowercase() => Some("it does not begin with a lower-case letter"),
        Some(_) if !name.chars().all(is_word) => Some("it has more in it than lower-case letters, digits, `-` and `_`"),
        Some(_) if name.len() > 60 => Some("it is longer than 60 letters"),
        // Cargo's own folders.
        Some(_) if ["test", "core", "std", "alloc", "target", "build", "deps"].contains(&name) => {
            Some("the compiler needs that name")
        }
        Some(_) => None,
    }
}

/// The files of a crate: where each lies in it, and its text.
pub fn files(name: &str, kind: Kind, from: &SdkFrom) -> Vec<(&'static str, String)> {
    let (connector, conformance) = match kind {
        Kind::Source => (
            include_str!("../../template/source/connector.rs"),
            include_str!("../../template/source/conformance.rs"),
        ),
        Kind::Destination => (
            include_str!("../../template/destination/connector.rs"),
            include_str!("../../template/destination/conformance.rs"),
        ),
        Kind::Transformer => (
            include_str!("../../template/transformer/connector.rs"),
            include_str!("../../template/transformer/conformance.rs"),
        ),
    };
    let spec = match kind {
        Kind::Source | Kind::Destination => "{ path: ./data }",
        Kind::Transformer => "{ columns: [name] }",
    };
    let filled = |text: &str| {
        text.replace("{NAME}", name)
            .replace("{KIND}", kind.name())
            .replace("{SDK}", &from.dependency())
            .replace("{SPEC}", spec)
    };
    vec![
        ("Cargo.toml", filled(include_str!("../../template/Cargo.toml.in"))),
        ("README.md", filled(include_str!("../../template/README.md.in"))),
        (".gitignore", "/target\n".to_owned()),
        ("src/main.rs", filled(include_str!("../../template/main.rs.in"))),
        (
            "src/connector.rs",
            connector.replace(r#"= "sample";"#, &format!("= \"{name}\";")),
        ),
        ("src/conformance.rs", conformance.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_and_the_name_is_the_connectors() {
        for kind in [Kind::Source, Kind::Destination, Kind::Transformer] {
            let from = SdkFrom::Path("/src/a \"checkout\"/".to_owned());
            let files = files("my-plugin", kind, &from);
            for (path, text) in &files {
                for placeholder in ["{NAME}", "{KIND}", "{SDK}", "{SPEC}"] {
                    assert!(!text.contains(placeholder), "{kind:?} {path}: {placeholder}");
                }
            }
            let text = |path: &str| {
                let found = files.iter().find(|(file, _)| *file == path);
                found.map(|(_, text)| text.as_str()).unwrap_or_default()
            };
            assert!(text("src/connector.rs").contains(r#"const NAME: &'static str = "my-plugin";"#));
            assert!(
                text("Cargo.toml").contains(r#"highwater-plugin-sdk = { path = "/src/a \"checkout\"/plugins/sdk" }"#)
            );
            assert!(text("src/main.rs").contains(&format!("Plugin::{}::<", kind.name())));
        }
    }

    #[test]
    fn names_that_no_crate_can_have_are_refused() {
        for name in ["a", "my-plugin", "my_plugin2"] {
            assert_eq!(refuse_name(name), None, "{name}");
        }
        for name in ["", "2a", "-a", "A", "a b", "a/b", "..", "core", "ä", &"a".repeat(61)] {
            assert!(refuse_name(name).is_some(), "{name}");
        }
    }
}
