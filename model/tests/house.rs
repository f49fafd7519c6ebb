//! The absences that keep the house simple, held over `cargo metadata`: who may depend on what.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The crates of the workspace: folder to what it needs to be built, without what only its tests need.
struct House {
    /// Folder to the names of its direct dependencies; our own crates by their folder.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// The same for tests and benches.
    for_tests: BTreeMap<String, BTreeSet<String>>,
}

impl House {
    fn look() -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--no-deps",
                "--offline",
                "--manifest-path",
                manifest,
            ])
            .output()
            .expect("cargo can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let root = text(&metadata["workspace_root"]);
        let packages = metadata["packages"].as_array().expect("a list");
        let folder_of = |package: &Value| {
            let manifest = text(&package["manifest_path"]);
            let folder = manifest
                .strip_prefix(&root)
                .and_then(|path| path.strip_suffix("/Cargo.toml"));
            folder
                .expect("members lie in the workspace")
                .trim_start_matches('/')
                .to_owned()
        };
        let folders: BTreeMap<String, String> = packages
            .iter()
            .map(|package| (text(&package["name"]), folder_of(package)))
            .collect();
        let (mut direct, mut for_tests) = (BTreeMap::new(), BTreeMap::new());
        for package in packages {
            let dependencies = package["dependencies"].as_array().expect("a list");
            let names = |is_wanted: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
                let wanted = dependencies
                    .iter()
                    .filter(|d| is_wanted(d["kind"].as_str().unwrap_or("normal")));
                let name = |d: &Value| text(&d["name"]);
                wanted
                    .map(|d| folders.get(&name(d)).cloned().unwrap_or_else(|| name(d)))
                    .collect()
            };
            direct.insert(folder_of(package), names(&|kind| kind != "dev"));
            for_tests.insert(folder_of(package), names(&|kind| kind == "dev"));
        }
        House { direct, for_tests }
    }

    /// The crates that need `name` to be built.
    fn users_of(&self, name: &str) -> Vec<&str> {
        let users = self.direct.iter().filter(|(_, needs)| needs.contains(name));
        users.map(|(folder, _)| folder.as_str()).collect()
    }

    fn plugins(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        let plugins = self.direct.iter().filter(|(folder, _)| folder.starts_with("plugins/"));
        plugins.map(|(folder, needs)| (folder.as_str(), needs))
    }

    /// Everything of ours that a crate needs, directly or not, itself included.
    fn reach<'a>(&'a self, folder: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::from([folder]);
        let mut open = vec![folder];
        while let Some(folder) = open.pop() {
            for need in self.direct.get(folder).into_iter().flatten() {
                if self.direct.contains_key(need) && reached.insert(need) {
                    open.push(need);
                }
            }
        }
        reached
    }
}

/// Fails unless only the crates of these folders need `name`. The first of them must, so that the rule is about something.
#[track_caller]
fn only(house: &House, name: &str, folders: &[&str]) {
    let users = house.users_of(name);
    let strangers: Vec<_> = users.iter().filter(|user| !folders.contains(user)).collect();
    assert!(
        strangers.is_empty(),
        "`{name}` is for {folders:?} alone, but {strangers:?} depends on it"
    );
    assert!(
        users.contains(&folders[0]),
        "nobody in {folders:?} depends on `{name}`: the rule is out of date"
    );
}

#[test]
fn model_knows_no_io_and_no_connector() {
    let house = House::look();
    let needs: Vec<&str> = house.direct["model"].iter().map(String::as_str).collect();
    let values_and_text = [
        "arrow",
        "base64",
        "bytes",
        "serde",
        "serde_json",
        "thiserror",
        "xxhash-rust",
    ];
    assert_eq!(
        needs, values_and_text,
        "a new dependency of `model` needs a reason, here"
    );
}

#[test]
fn each_heavy_crate_is_known_in_one_place() {
    let house = House::look();
    only(&house, "ractor", &["actors", "benches"]);
    // The benches measure the store beside itself; they go through `state`.
    only(&house, "sled", &["state"]);
    // The wire of plugins; the benches have a peer that costs nothing.
    only(&house, "tonic", &["proto", "plugins/cloudquery", "benches"]);
    only(&house, "prost", &["proto", "plugins/cloudquery"]);
    for name in ["axum", "metrics-exporter-prometheus"] {
        only(&house, name, &["runtime"]);
    }
    // A plugin that is written with the SDK is a program as well.
    for name in ["clap", "tracing-subscriber"] {
        only(&house, name, &["runtime", "plugins/sdk"]);
    }
}

#[test]
fn no_plugin_knows_another_nor_the_engine() {
    let house = House::look();
    assert!(house.plugins().count() >= 5);
    for (folder, needs) in house.plugins() {
        let ours: Vec<&str> = needs
            .iter()
            .map(String::as_str)
            .filter(|need| house.direct.contains_key(*need))
            .collect();
        let allowed: &[&str] = match folder {
            "plugins/api" => &["model"],
            "plugins/cloudquery" => &["model", "plugins/api", "proto"],
            // It serves what others write, and is no connector itself.
            "plugins/sdk" => &["model", "plugins/api", "plugins/cloudquery"],
            _ => &["model", "plugins/api"],
        };
        assert!(
            ours.iter().all(|need| allowed.contains(need)),
            "`{folder}` may depend on {allowed:?}, but depends on {ours:?}"
        );
        let tested: Vec<&String> = house.for_tests[folder]
            .iter()
            .filter(|need| house.direct.contains_key(*need))
            .collect();
        assert!(
            tested
                .iter()
                .all(|need| allowed.contains(&need.as_str()) || *need == folder || *need == "test-systems"),
            "the tests of `{folder}` depend on {tested:?}"
        );
    }
}

#[test]
fn config_touches_neither_network_nor_connectors() {
    let house = House::look();
    assert_eq!(house.reach("config"), BTreeSet::from(["config", "model"]));
    let network = [
        "tokio",
        "hyper",
        "axum",
        "reqwest",
        "tonic",
        "object_store",
        "rusqlite",
        "ractor",
        "sled",
        "futures",
    ];
    let touched: Vec<_> = network
        .iter()
        .filter(|name| house.direct["config"].contains(**name))
        .collect();
    assert!(touched.is_empty(), "`config` depends on {touched:?}");
}

#[test]
fn arrows_point_one_way() {
    let house = House::look();
    let reach = |folder| house.reach(folder);
    assert_eq!(reach("model"), BTreeSet::from(["model"]));
    assert_eq!(reach("spool"), BTreeSet::from(["model", "spool"]));
    assert_eq!(reach("state"), BTreeSet::from(["model", "state"]));
    assert_eq!(reach("proto"), BTreeSet::from(["model", "proto"]));
    assert_eq!(reach("plugins/api"), BTreeSet::from(["model", "plugins/api"]));
    assert_eq!(
        reach("actors"),
        BTreeSet::from(["actors", "model", "plugins/api", "spool", "state"])
    );
    assert_eq!(reach("test-systems"), BTreeSet::from(["test-systems"]));
    // From outside: the built binary, real servers, and the nouns to read what was left behind.
    assert_eq!(
        reach("chaos-tests"),
        BTreeSet::from(["chaos-tests", "model", "test-systems"])
    );
    for (folder, needs) in &house.direct {
        assert!(
            !needs.contains("runtime") && !needs.contains("chaos-tests"),
            "`{folder}` depends on the top of the house"
        );
    }
}
