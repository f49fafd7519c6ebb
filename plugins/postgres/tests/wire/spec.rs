//! What is written in a spec, without a server.

use std::path::PathBuf;

use api::BuildContext;
use highwater_plugin_postgres::connect::{ConnectSpec, Settings};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// How a role embeds the connection.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Outer {
    #[serde(flatten)]
    connect: ConnectSpec,
    slot: Option<String>,
}

fn settings(spec: Value) -> Result<Settings, String> {
    let outer: Outer = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    let base_dir = PathBuf::from("/etc/highwater");
    Settings::new(&outer.connect, &BuildContext { base_dir }).map_err(|error| format!("{} {error}", error.pointer))
}

#[test]
fn embedded_spec_is_one_flat_map_in_the_schema() {
    let schema = schemars::schema_for!(Outer).to_value();
    let properties = schema["properties"].as_object().unwrap();
    for name in ["url", "host", "sslmode", "connect_timeout", "slot"] {
        assert!(properties.contains_key(name), "{schema:#}");
    }
    assert_eq!(schema["properties"]["password"]["writeOnly"], true);
    assert!(schema.get("required").is_none(), "{schema:#}");
}

#[test]
fn fields_win_over_the_url_and_several_hosts_ask_for_the_primary() {
    let written = json!({"url": "postgres://u@a:1,b/d?sslmode=require", "host": "c,[::1]:7", "port": 9, "slot": "s"});
    let settings = settings(written).unwrap();
    assert_eq!(format!("{settings:?}"), "Settings(u@c:9,[::1]:7/d, sslmode require)");
}

#[test]
fn refusals_say_which_field_and_what_is_possible() {
    let check = |spec: Value, expected: &str| assert_eq!(settings(spec).unwrap_err(), expected);
    check(json!({"user": "u"}), " cannot connect: there is no `host`");
    check(json!({"host": "h"}), " cannot connect: there is no `user`");
    check(
        json!({"url": "postgres://u@h?sslmoode=require"}),
        "/url cannot use `url`: the setting `sslmoode` is not supported",
    );
    check(
        json!({"url": "mysql://u@h"}),
        "/url cannot read `url`: the URL does not begin with `postgres://`",
    );
    check(
        json!({"host": "h:0", "user": "u"}),
        "/host the port of `h` is no number from 1 to 65535",
    );
    check(
        json!({"url": "postgres://u@h1,h2,h3?port=1,2"}),
        "/host there are 3 hosts and 2 ports",
    );
    check(
        json!({"host": "h", "user": "u", "sslmode": "require", "sslrootcert": "system"}),
        "/sslrootcert cannot use `sslrootcert: system` with `sslmode: require`",
    );
    check(
        json!({"host": "h", "user": "u", "target_session_attrs": "standby"}),
        "/target_session_attrs `target_session_attrs` is `standby`: expected `any`, `primary` or `read-write`",
    );
}

#[test]
fn password_is_in_no_debug_output() {
    let spec: ConnectSpec =
        serde_json::from_value(json!({"url": "postgres://u:s3cret@h/d", "password": "s3cret"})).unwrap();
    assert!(!format!("{spec:?}").contains("s3cret"), "{spec:?}");
    let settings = Settings::parse("postgres://u:s3cret@h/d").unwrap();
    assert!(!format!("{settings:?} {settings}").contains("s3cret"), "{settings:?}");
}
