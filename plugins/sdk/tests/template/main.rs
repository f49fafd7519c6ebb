//! What `highwater plugin new` writes, as it is written: compiled, and held to the suite.

extern crate highwater_plugin_sdk;

#[path = "../../template/source"]
mod source {
    mod conformance;
    mod connector;
}

#[path = "../../template/destination"]
mod destination {
    mod conformance;
    mod connector;
}

#[path = "../../template/transformer"]
mod transformer {
    mod conformance;
    mod connector;
}

/// Every Rust block of the tutorial is part of one of these files; spaces and line breaks do not count.
#[test]
fn tutorial_quotes_code_that_is_tested() {
    let tutorial = include_str!("../../../../docs/tutorials/5-write-a-plugin.md");
    let files = [
        include_str!("../../template/main.rs.in"),
        include_str!("../../template/source/connector.rs"),
        include_str!("../../template/destination/connector.rs"),
        include_str!("../../template/destination/conformance.rs"),
        include_str!("../../template/transformer/connector.rs"),
    ];
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let files = files.map(squeezed);
    let blocks = tutorial.split("```rust\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap_or_default())
        .collect();
    for code in &blocks {
        let is_quoted = files.iter().any(|file| file.contains(&squeezed(code)));
        assert!(is_quoted, "not in the tested code:\n{code}");
    }
    assert!(blocks.len() >= 6, "the tutorial has {} blocks of Rust", blocks.len());
}
