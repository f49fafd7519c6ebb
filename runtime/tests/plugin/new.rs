//! `highwater plugin new`: what it writes builds, keeps every promise, and is a plugin.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use proto::plugin_v3::get_name;
use rustix::process::Signal;

use crate::caller::Caller;
use crate::process::Process;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn new(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["plugin", "new"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn what_cannot_be_made_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("taken")).unwrap();
    for (arguments, expected) in [
        (
            &["Mine", "--kind", "source"][..],
            "cannot call a plugin `Mine`: it does not begin with a lower-case letter",
        ),
        (&["taken", "--kind", "source"], "cannot write `taken`: it exists"),
        (
            &["mine", "--kind", "source", "--path", "taken"],
            "cannot build against `taken`: it has no `plugins/sdk`",
        ),
    ] {
        let output = new(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}");
    }
    assert!(!folder.path().join("mine").exists());
}

#[test]
fn without_a_checkout_it_names_the_version_and_says_that_it_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let output = new(folder.path(), &["mine", "--kind", "transformer"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not on a registry yet"), "{said}");
    let manifest = std::fs::read_to_string(folder.path().join("mine/Cargo.toml")).unwrap();
    let version = format!("highwater-plugin-sdk = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&version), "{manifest}");
    let git = ["theirs", "--kind", "source", "--git", "https://example.org/highwater"];
    assert_eq!(new(folder.path(), &git).status.code(), Some(0));
    let manifest = std::fs::read_to_string(folder.path().join("theirs/Cargo.toml")).unwrap();
    assert!(
        manifest.contains("highwater-plugin-sdk = { git = \"https://example.org/highwater\" }"),
        "{manifest}"
    );
}

/// Builds everything below the SDK once more, as a stranger would; later runs only what has changed. So `./check` asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_writes_builds_keeps_every_promise_and_is_served() {
    if std::env::var_os("HIGHWATER_TEST_PLUGIN_NEW").is_none() {
        println!("skipped: builds Arrow anew; set HIGHWATER_TEST_PLUGIN_NEW=1, as ./check does");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-new");
    for kind in ["source", "destination", "transformer"] {
        let (name, path) = (format!("my-{kind}"), checkout());
        let arguments = [&name, "--kind", kind, "--path", path.to_str().unwrap()];
        let output = new(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made = folder.path().join(&name);
        // The versions that are here: nothing is fetched.
        std::fs::copy(path.join("Cargo.lock"), made.join("Cargo.lock")).unwrap();
        let cargo = |command: &str| {
            let output = Command::new(env!("CARGO"))
                .args([command, "--offline", "-q"])
                .current_dir(&made)
                .env("CARGO_TARGET_DIR", &target)
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env_remove("RUSTFLAGS")
                .output()
                .unwrap();
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.status.success(), "cargo {command} of {name}:\n{said}");
            said
        };
        let tested = cargo("test");
        assert!(tested.contains("test result: ok."), "{tested}");
        cargo("build");
        let mut process = Process::start_program(&target.join("debug").join(&name));
        let mut client = Caller::dial(&process.socket()).await.0;
        let served = client.get_name(get_name::Request {}).await.unwrap().into_inner();
        assert_eq!(served.name, name);
        let line = process.line("plugin server listening");
        assert_eq!(line["module"], format!("{name}-{kind}"));
        process.signal(Signal::INT);
        assert_eq!(process.wait(Duration::from_secs(5)).code(), Some(0));
    }
}
