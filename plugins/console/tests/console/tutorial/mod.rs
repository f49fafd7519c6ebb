//! The connector that the tutorial *Write a destination* builds: compiled, held to the suite, and quoted truly.

#[path = "../../../src/cell.rs"]
mod cell;
mod harness;
mod json_lines;
#[allow(dead_code)]
#[path = "../../../src/print.rs"]
mod print;

/// Every Rust block of the tutorial is part of one of these files; spaces and line breaks do not count.
#[test]
fn tutorial_quotes_code_that_is_tested() {
    let tutorial = include_str!("../../../../../docs/tutorials/4-write-a-destination.md");
    let files = [
        include_str!("json_lines.rs"),
        include_str!("harness.rs"),
        include_str!("../../../src/null.rs"),
    ];
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let files = files.map(squeezed);
    let mut block_count = 0;
    for block in tutorial.split("```rust\n").skip(1) {
        let code = block.split("```").next().unwrap_or_default();
        block_count += 1;
        assert!(
            files.iter().any(|file| file.contains(&squeezed(code))),
            "not in the tested code:\n{code}"
        );
    }
    assert!(block_count >= 6, "the tutorial has {block_count} blocks of Rust");
}
