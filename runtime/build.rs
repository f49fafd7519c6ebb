//! Tells the binary which compiler made it, for `highwater version` and `highwater_build_info`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HIGHWATER_COMMIT");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let number = version.as_deref().and_then(|text| text.split_whitespace().nth(1));
    println!("cargo::rustc-env=HIGHWATER_RUSTC={}", number.unwrap_or("unknown"));
}
