//! What good files become.

use std::time::Duration;

use highwater_config::{Batch, Deletes, LogFormat, LogLevel, Retry, Snapshot, WhenBehind, Write, WriteMode};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::catalog::{load_with, told};

/// UX section 4.1.
const QUICKSTART: &str = "version: 1

pipelines:
  shop:
    source:
      connector: sqlite
      spec:
        path: ./shop.db
        capture: triggers          # a change table + triggers; `poll` needs only read access and a cursor column
      streams: [customers, orders, order_lines]

    destinations:
      lake:                        # columnar history, one file per minute
        connector: parquet
        spec:
          path: ./out/{stream}/date={date}/
        write: append
        batch: { wait_max: 1m, bytes_max: 64MiB }

      copy:                        # a live replica
        connector: sqlite
        spec:
          path: ./copy.db
        write: upsert
";

const MIB: u64 = 1 << 20;

#[test]
fn quickstart_gets_the_defaults() {
    let loaded = load_with(QUICKSTART, &[]);
    assert_eq!(
        told(&loaded),
        "N0110 4:3 a slow destination of `shop` can hold the others\n"
    );
    let plan = loaded.plan.unwrap();
    let runtime = &plan.runtime;
    assert_eq!(runtime.state_path.to_str(), Some("./.highwater/state"));
    assert_eq!(
        (runtime.memory_limit_bytes, runtime.spool.window_max_bytes),
        (512 * MIB, 64 * MIB)
    );
    assert_eq!(runtime.admin.listen.unwrap().to_string(), "127.0.0.1:7400");
    assert!(runtime.admin.token.is_none());
    assert_eq!((runtime.log.format, runtime.log.level), (None, LogLevel::Info));
    assert_eq!(runtime.shutdown_timeout, Duration::from_secs(60));
    let shop = plan.pipeline("shop").unwrap();
    assert_eq!(
        shop.source.spec.value(),
        &json!({ "path": "./shop.db", "capture": "triggers" })
    );
    assert_eq!(shop.source.streams.include, ["customers", "orders", "order_lines"]);
    let [lake, copy] = shop.destinations.as_slice() else {
        panic!("{shop:?}")
    };
    assert_eq!((lake.name.as_str(), lake.connector.as_str()), ("lake", "parquet"));
    assert_eq!(lake.write, WriteMode::Always(Write::Append));
    assert_eq!(
        lake.batch,
        Batch {
            bytes_max: 64 * MIB,
            rows_max: u64::MAX,
            wait_max: Duration::from_secs(60)
        }
    );
    assert_eq!(copy.write, WriteMode::Always(Write::Upsert));
    assert_eq!(copy.batch, Batch::default());
    assert_eq!((copy.deletes, copy.when_behind), (Deletes::Apply, WhenBehind::Hold));
    assert_eq!(copy.retry, Retry::default());
    assert_eq!(copy.guarantee, "exactly-once");
}

#[test]
fn every_field_is_read() {
    let text = "version: 1
runtime:
  state: { path: /var/lib/highwater/state }
  memory: { limit: 2GiB }
  spool: { home: memory, window_max: 128MiB }
  admin: { listen: \"0.0.0.0:7400\", token: \"${secret:env:TOKEN}\", socket: /run/highwater.sock }
  log: { format: json, level: debug }
  shutdown: { timeout: 1m30s }
  metrics: { stream_labels: off }
sources:
  shop:
    connector: postgres
    spec: { url: \"${secret:env:URL}\", publication: p, slot: s, create: true, snapshot: { workers: 4 } }
    streams:
      include: [\"public.*\"]
      exclude: [public.sessions]
      columns: { public.customers: { exclude: [password_hash] } }
      overrides:
        public.events: { key: [event_id], snapshot: skip, columns: { amount: text } }
transformers:
  adults: { connector: filter, spec: { rows: { public.customers: { column: age, equals: 18 } } } }
destinations:
  warehouse:
    connector: sqlite
    spec: { path: NO }
    write: mirror
    deletes: soft
    on_schema_change: pause
    batch: { bytes_max: 1MiB, rows_max: 100, wait_max: 1s }
    retry: { backoff_min: 1s, backoff_max: 2m, for: 1h }
    when_behind: { then: rewind }
    transformers:
      - { name: big, connector: filter, spec: { rows: { public.orders: { column: version, equals: 1.10 } } } }
      - adults
pipelines:
  shop:
    source: shop
    transformers: [adults]
    destinations: { main: warehouse, look: { connector: \"null\", when_behind: { then: hold } } }
";
    let loaded = load_with(text, &[("TOKEN", "t0ken"), ("URL", "postgres://u:p4ss@h/d")]);
    assert_eq!(
        told(&loaded),
        "N0110 36:3 a slow destination of `shop` can hold the others\n"
    );
    let plan = loaded.plan.unwrap();
    let runtime = &plan.runtime;
    assert_eq!(runtime.admin.token.as_ref().unwrap().expose_secret(), "t0ken");
    assert_eq!(runtime.log.format, Some(LogFormat::Json));
    assert_eq!(runtime.shutdown_timeout, Duration::from_secs(90));
    let shop = &plan.pipelines[0];
    let spec = shop.source.spec.value();
    assert_eq!(spec["create"], true);
    assert_eq!(spec["snapshot"]["workers"], 4);
    let streams = &shop.source.streams;
    assert!(streams.selects("public.orders") && !streams.selects("public.sessions"));
    assert!(!streams.columns["public.customers"].selects("password_hash"));
    let events = &streams.overrides["public.events"];
    assert_eq!(
        (events.key.as_deref(), events.snapshot),
        (Some(&["event_id".to_owned()][..]), Some(Snapshot::Skip))
    );
    assert_eq!(events.columns["amount"], "text");
    assert_eq!(shop.transformers[0].name, "adults");
    assert_eq!(
        shop.transformers[0].spec.value()["rows"]["public.customers"]["equals"],
        18
    );
    let [main, look] = shop.destinations.as_slice() else {
        panic!("{shop:?}")
    };
    assert_eq!(
        (main.name.as_str(), main.spec.value()["path"].as_str()),
        ("main", Some("NO")),
        "NO is not false"
    );
    assert_eq!(
        (main.write, main.deletes),
        (WriteMode::Always(Write::Mirror), Deletes::Soft)
    );
    assert_eq!(
        main.batch,
        Batch {
            bytes_max: MIB,
            rows_max: 100,
            wait_max: Duration::from_secs(1)
        }
    );
    assert_eq!(main.retry.give_up_after, Some(Duration::from_secs(3_600)));
    assert_eq!(main.when_behind, WhenBehind::Rewind);
    let names: Vec<&str> = main
        .transformers
        .iter()
        .map(|transformer| transformer.name.as_str())
        .collect();
    assert_eq!(names, ["big", "adults"]);
    let untyped = &main.transformers[0].spec.value()["rows"]["public.orders"]["equals"];
    assert_eq!(untyped, "1.10", "an untyped 1.10 is not 1.1");
    assert_eq!(look.write, WriteMode::ByKey);
}

#[test]
fn json_is_read_as_well() {
    let text = r#"{"version": 1, "pipelines": {"shop": {
        "source": {"connector": "sqlite", "spec": {"path": "a\/b", "workers": 2}, "streams": ["t"]},
        "destinations": {"out": {"connector": "null", "batch": {"rows_max": 10}}}}}}"#;
    let loaded = load_with(text, &[]);
    assert_eq!(told(&loaded), "");
    let plan = loaded.plan.unwrap();
    assert_eq!(
        plan.pipelines[0].source.spec.value(),
        &json!({ "path": "a/b", "workers": 2 })
    );
    assert_eq!(plan.pipelines[0].destinations[0].batch.rows_max, 10);
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = "version: 1
pipelines:
  a: { source: &source { connector: sqlite, spec: &spec { path: a }, streams: [t] }, destinations: { out: &out { connector: sqlite, spec: *spec } } }
  b: { source: *source, destinations: { out: *out } }
";
    let plan = load_with(text, &[]).plan.unwrap();
    assert_eq!(plan.pipelines[1].source.spec, plan.pipelines[0].source.spec);
    assert_eq!(plan.pipelines[1].destinations[0].spec.value(), &json!({ "path": "a" }));
}

#[test]
fn variants_of_a_spec_are_told_apart() {
    let spec = |connector: &str, spec: &str| {
        let text = QUICKSTART.replace("connector: parquet", &format!("connector: {connector}"));
        let text = text.replace(
            "spec:\n          path: ./out/{stream}/date={date}/",
            &format!("spec: {spec}"),
        );
        let loaded = load_with(&text, &[]);
        let errors: String = told(&loaded)
            .lines()
            .filter(|line| line.starts_with('E'))
            .map(|line| format!("{line}\n"))
            .collect();
        match loaded.plan {
            Some(plan) => plan.pipelines[0].destinations[0].spec.value().to_string(),
            None => errors,
        }
    };
    assert_eq!(
        spec("parquet", "{ path: a, compression: snappy }"),
        r#"{"path":"a","compression":"snappy"}"#
    );
    assert_eq!(
        spec("parquet", "{ path: a, compression: { zstd: { level: 3 } } }"),
        r#"{"path":"a","compression":{"zstd":{"level":3}}}"#
    );
    assert_eq!(
        spec("parquet", "{ path: a, compression: { zstd: { level: 99 } } }"),
        "E0103 15:56 `level` must be at most 22\n"
    );
    assert_eq!(
        spec("parquet", "{ path: a, compression: snapy }"),
        "E0115 15:39 `snapy` is not a value of `compression`\n"
    );
    assert_eq!(spec("parquet", "{ path: a, compression: ~ }"), r#"{"path":"a"}"#);
    assert_eq!(
        spec(
            "http",
            "{ endpoint: h, auth: { kind: bearer, token: \"${X:-t}\" }, ratio: 1e3, headers: { a: 1, b: true } }"
        ),
        r#"{"endpoint":"h","auth":{"kind":"bearer","token":"t"},"ratio":1000.0,"headers":{"a":"1","b":"true"}}"#
    );
    assert_eq!(
        spec("http", "{ endpoint: h, auth: { kind: bearer, user: u } }"),
        "E0107 15:30 missing field `token`\nE0104 15:52 unknown field `user`\n"
    );
    assert_eq!(
        spec("http", "{ endpoint: h, auth: { kind: bare } }"),
        "E0115 15:44 `bare` is not a value of `kind`\n"
    );
    assert_eq!(
        spec("http", "{ endpoint: h, auth: {} }"),
        "E0107 15:30 missing field `kind`\n"
    );
    assert_eq!(
        spec("http", "{ endpoint: h, headers: [a] }"),
        "E0105 15:39 wrong type for `headers`: expected a map, found a list\n"
    );
}

#[test]
fn text_hash_changes_with_the_text_and_not_with_the_name() {
    let hash = |text: &str| load_with(text, &[]).text_hash();
    assert_eq!(hash(QUICKSTART), hash(QUICKSTART));
    assert_ne!(hash(QUICKSTART), hash(&QUICKSTART.replace("64MiB", "65MiB")));
    assert_eq!(hash(QUICKSTART).len(), 8);
}

#[test]
fn numbers_keep_to_the_type_behind_the_schema() {
    let text = QUICKSTART.replace("connector: sqlite\n      spec:\n        path: ./shop.db\n", "connector: postgres\n      spec:\n        url: postgres://h/d\n        publication: p\n        slot: s\n        snapshot: { workers: N }\n");
    let text = text.replace("        capture: triggers ", "        # ");
    let errors = |number: &str| {
        let told = told(&load_with(
            &text.replace("workers: N", &format!("workers: {number}")),
            &[],
        ));
        told.lines()
            .filter(|line| line.starts_with('E'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(errors("4294967295"), "");
    assert_eq!(
        errors("4294967296"),
        "E0103 11:30 `workers` must be from 0 to 4294967295"
    );
    assert_eq!(errors("-1"), "E0103 11:30 `workers` must be at least 0");
    assert_eq!(
        errors("1.5"),
        "E0105 11:30 wrong type for `workers`: expected a whole number, found a number"
    );
}

#[test]
fn the_window_shrinks_with_the_limit() {
    let with = |runtime: &str| {
        let text = QUICKSTART.replace("version: 1\n", &format!("version: 1\nruntime: {runtime}\n"));
        let loaded = load_with(&text, &[]);
        loaded.plan.map(|plan| plan.runtime.spool.window_max_bytes)
    };
    // Buffers are 16 + 1 MiB, the floor is 1 MiB.
    assert_eq!(with("{ memory: { limit: 64MiB } }"), Some(23 * MIB));
    assert_eq!(
        with("{ memory: { limit: 64MiB }, spool: { window_max: 46MiB } }"),
        Some(46 * MIB)
    );
    assert_eq!(with("{ memory: { limit: 64MiB }, spool: { window_max: 47MiB } }"), None);
    assert_eq!(with("{ memory: { limit: 18MiB } }"), None);
}

#[test]
fn plan_hash_changes_with_the_meaning_and_with_nothing_else() {
    let hash = |text: &str| {
        let loaded = load_with(text, &[]);
        let findings = told(&loaded);
        loaded.plan.unwrap_or_else(|| panic!("{findings}")).pipelines[0].plan_hash()
    };
    let base = hash(QUICKSTART);
    // Golden: what is stored with a checkpoint must be computed the same way for ever.
    assert_eq!(base, "1-f64bc3a5c3bfc2b7d08e36e0780d9637");
    for (from, to) in [
        ("[customers, orders, order_lines]", "[orders, order_lines, customers]"),
        ("./shop.db", "./moved/shop.db"),
        ("64MiB", "32MiB"),
        ("      lake:", "      pond:"),
    ] {
        assert_eq!(hash(&QUICKSTART.replace(from, to)), base, "{from} -> {to}");
    }
    let chain = |value: &str| {
        let filter = format!(
            "    transformers: [{{ connector: filter, spec: {{ rows: {{ orders: {{ column: a, equals: {value} }} }} }} }}]\n"
        );
        QUICKSTART.replace("    destinations:\n", &format!("{filter}    destinations:\n"))
    };
    let mut all = vec![base];
    for text in [
        QUICKSTART.replace("order_lines]", "order_line]"),
        QUICKSTART.replace(
            "[customers, orders, order_lines]",
            "{ include: [customers, orders, order_lines], exclude: [x] }",
        ),
        chain("1"),
        chain("2"),
    ] {
        all.push(hash(&text));
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn stream_hash_knows_nothing_of_other_streams() {
    let plan = |text: &str| load_with(text, &[]).plan.unwrap();
    let hashes = |text: &str| {
        let plan = plan(text);
        let shop = &plan.pipelines[0];
        (
            shop.stream_hash_for(&shop.destinations[0], "orders"),
            shop.stream_hash_for(&shop.destinations[1], "orders"),
        )
    };
    let (lake, copy) = hashes(QUICKSTART);
    assert_eq!(
        hashes(&QUICKSTART.replace("order_lines]", "order_lines, payments]")),
        (lake.clone(), copy.clone())
    );
    let filtered = QUICKSTART.replace(
        "          path: ./copy.db\n",
        "          path: ./copy.db\n        transformers: [{ connector: filter, spec: { rows: {} } }]\n",
    );
    let (lake_filtered, copy_filtered) = hashes(&filtered);
    assert_eq!(lake_filtered, lake, "another destination's transformers are not mine");
    assert_ne!(copy_filtered, copy);
}
