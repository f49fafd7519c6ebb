//! Tells the binary which commit and which compiler made it, for `highwater version` and `highwater_build_info`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HIGHWATER_COMMIT");
    println!(
        "cargo::rustc-env=HIGHWATER_COMMIT={}",
        commit().as_deref().unwrap_or("unknown")
    );
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let version = first_line(Command::new(compiler).arg("--version"));
    let number = version.as_deref().and_then(|text| text.split_whitespace().nth(1));
    println!("cargo::rustc-env=HIGHWATER_RUSTC={}", number.unwrap_or("unknown"));
}

/// What the packager said, or what the checkout is at. Only for releases: a build that develops would be made again for
/// every commit.
fn commit() -> Option<String> {
    if let Ok(told) = std::env::var("HIGHWATER_COMMIT") {
        return Some(told);
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    let head = first_line(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))?;
    println!("cargo::rerun-if-changed={head}");
    first_line(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]))
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}
