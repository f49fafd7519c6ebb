//! The admin API over TCP, and the metrics.

use std::collections::BTreeSet;

use actors::metric::{Kind, METRICS};

use crate::site::{CONFIG, Site, request};

fn with_admin(admin: &str) -> String {
    CONFIG.replace("listen: \"off\"", admin)
}

#[test]
fn without_a_token_only_addresses_of_this_machine_are_answered() {
    let site = Site::new();
    site.configure(&with_admin("listen: \"127.0.0.1:0\""));
    let mut process = site.start(&["run"]);
    let address = process.address();
    assert_eq!(
        request(&address, &format!("GET /livez HTTP/1.1\r\nHost: {address}"), "").0,
        200
    );
    assert_eq!(
        request(&address, "GET /livez HTTP/1.1\r\nHost: evil.example", "").0,
        403
    );
    let (status, body) = request(
        &address,
        &format!("GET /api/v1/nothing HTTP/1.1\r\nHost: {address}"),
        "",
    );
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, problem["code"].as_str()), (404, Some("E0728")));
    assert!(problem["request_id"].as_str().is_some_and(|id| id.len() == 36));
    let post =
        format!("POST /api/v1/pipelines/shop/resync HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json");
    assert_eq!(
        request(
            &address,
            &post,
            &format!("{{\"streams\":[\"{}\"]}}", "x".repeat(2 << 20))
        )
        .0,
        400
    );
    assert_eq!(
        request(&address, &post, "{\"stream\":[]}").0,
        400,
        "an unknown field is no wish for everything"
    );
    site.wait_for_orders(&mut process, 200);
    assert_eq!(
        request(
            &address,
            &post,
            "{\"streams\":[\"orders\"],\"destinations\":[\"copy\"]}"
        )
        .0,
        202
    );
    let (_, page) = request(&address, &format!("GET / HTTP/1.1\r\nHost: {address}"), "");
    assert!(page.contains("<h1>Highwater"), "{page}");
}

#[test]
fn with_a_token_only_who_has_it_is_answered() {
    let site = Site::new();
    site.configure(&with_admin(
        "listen: \"127.0.0.1:0\", token: \"${secret:env:ADMIN_TOKEN}\"",
    ));
    let mut command = site.command(&["run"]);
    command
        .env("ADMIN_TOKEN", "s3cret-s3cret")
        .stderr(std::fs::File::create(site.path().join("token.log")).unwrap());
    let mut child = command.spawn().unwrap();
    let address = loop {
        let text = std::fs::read_to_string(site.path().join("token.log")).unwrap();
        let line = text.lines().find(|line| line.contains("admin api listening"));
        if let Some(address) = line.and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            break address["address"].as_str().unwrap().to_owned();
        }
        assert!(child.try_wait().unwrap().is_none(), "{text}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    };
    let ask = |header: &str| request(&address, &format!("GET /api/v1/info HTTP/1.1\r\nHost: x{header}"), "").0;
    assert_eq!(ask(""), 401);
    assert_eq!(ask("\r\nAuthorization: Bearer wrong"), 401);
    assert_eq!(ask("\r\nAuthorization: Bearer s3cret-s3cret"), 200);
    let status = site
        .command(&["status", "--address", &format!("http://{address}")])
        .env("ADMIN_TOKEN", "s3cret-s3cret")
        .output()
        .unwrap();
    assert_eq!(
        status.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn port_in_use_exits_with_three_and_says_which_field() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new();
    site.configure(&with_admin(&format!("listen: \"{}\"", taken.local_addr().unwrap())));
    let text = site.expect(&["run"], 3);
    assert!(text.contains("E0720") && text.contains("admin: { listen"), "{text}");
}

#[test]
fn scrape_has_every_metric_that_applies_and_no_other() {
    /// What this run gives no reason for.
    const NOT_HERE: [&str; 12] = [
        "highwater_filtered_rows_total",
        "highwater_component_errors_total",
        "highwater_lag_bytes",
        "highwater_actor_restarts_total",
        "highwater_snapshot_estimated_rows",
        "highwater_snapshot_progress_ratio",
        "highwater_snapshot_remaining_seconds",
        // The source tells no time of its head before its first change.
        "highwater_source_head_timestamp_seconds",
        "highwater_durable_timestamp_seconds",
        // Not from PostgreSQL.
        "highwater_postgres_slot_active",
        "highwater_postgres_slot_retained_bytes",
        "highwater_postgres_slot_safe_bytes",
    ];
    let site = Site::new();
    let mut process = site.start(&["run"]);
    site.wait_for_orders(&mut process, 200);
    site.source().execute_batch("DELETE FROM orders WHERE id = 1").unwrap();
    site.wait_for_orders(&mut process, 199);
    let text = process.wait_for("lag 0", || {
        let (_, text) = site.get("/metrics");
        text.contains("highwater_lag_seconds{pipeline=\"shop\",destination=\"lake\"} 0\n")
            .then_some(text)
    });
    let family = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let base = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        base.filter(|base| {
            METRICS
                .iter()
                .any(|metric| metric.name == *base && metric.kind == Kind::Histogram)
        })
        .map_or(name.clone(), str::to_owned)
    };
    let found: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(family)
        .collect();
    let known: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(
        found.difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "unknown names"
    );
    let missing: Vec<_> = known
        .difference(&found)
        .filter(|name| !NOT_HERE.contains(&name.as_str()))
        .collect();
    assert_eq!(missing, Vec::<&String>::new(), "names that are missing");
    for name in &found {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    assert!(text.contains(
        "highwater_stream_rows_total{pipeline=\"shop\",destination=\"copy\",stream=\"orders\",op=\"delete\"} 1"
    ));
    assert!(text.contains("highwater_destination_state{pipeline=\"shop\",destination=\"copy\",state=\"live\"} 1"));
    assert!(text.contains("highwater_batch_rows_bucket"), "histograms have buckets");
}
