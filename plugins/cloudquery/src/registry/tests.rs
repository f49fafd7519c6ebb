use std::net::TcpListener;

use serde_json::json;

use super::*;

async fn look(base: &Path, spec: serde_json::Value) -> Result<PathBuf, api::Error> {
    let spec: PluginSpec = serde_json::from_value(spec).expect("a spec");
    executable(Kind::Source, "it", &spec, base).await.map_err(Into::into)
}

fn xkcd() -> HubPlugin {
    HubPlugin::parse("source/cloudquery/xkcd@v1.6.0").expect("a plugin")
}

const CONTENT: &[u8] = b"#!/bin/sh\necho this is the plugin\n";

/// A mirror with one plugin; `checksum` replaces the right one.
fn mirror(folder: &Path, checksum: Option<&str>) {
    let (os, arch) = target();
    let file = format!("plugin-xkcd-v1.6.0-{os}-{arch}");
    let packed = archive::tests::archive(&file, CONTENT, true);
    let sum = hex(&Sha256::digest(&packed));
    let package = json!({
        "schema_version": 1, "name": "xkcd", "version": "v1.6.0", "protocols": [3],
        "supported_targets": [
            {"os": "plan9", "arch": arch, "path": "no.zip", "checksum": "sha256:0"},
            {"os": os, "arch": arch, "path": format!("{file}.zip"),
             "checksum": format!("sha256:{}", checksum.unwrap_or(&sum))},
        ],
    });
    let place = folder.join("cloudquery/source/xkcd/v1.6.0");
    std::fs::create_dir_all(&place).expect("a folder");
    std::fs::write(place.join("package.json"), package.to_string()).expect("a file");
    std::fs::write(place.join(format!("{file}.zip")), packed).expect("a file");
}

#[tokio::test]
async fn a_cached_plugin_is_found_by_kind_team_name_and_version() {
    let base = tempfile::tempdir().expect("a folder");
    let folder = base.path().join(".cq/plugins/source/cloudquery/xkcd/v1.6.0");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("plugin"), "").expect("a file");
    let spec = |version: &str| json!({"path": "cloudquery/xkcd", "version": version});
    let found = look(base.path(), spec("v1.6.0")).await;
    assert_eq!(found.expect("it is there"), folder.join("plugin"));
    let error = look(base.path(), spec("v1.6.1")).await.expect_err("another version");
    assert!(
        error
            .to_string()
            .contains("`source/cloudquery/xkcd@v1.6.1` is neither in `"),
        "{error}"
    );
    assert!(
        error
            .remedy()
            .is_some_and(|hint| hint.contains("highwater plugins install"))
    );
    let spec: PluginSpec = serde_json::from_value(spec("v1.6.0")).expect("a spec");
    let other = executable(Kind::Destination, "it", &spec, base.path()).await;
    assert!(other.is_err(), "a source is no destination");
}

#[tokio::test]
async fn a_mirror_gives_the_plugin_of_this_machine_once() {
    let base = tempfile::tempdir().expect("a folder");
    mirror(&base.path().join("mirror"), None);
    let spec = json!({"path": "cloudquery/xkcd", "version": "v1.6.0", "mirror": "./mirror"});
    let path = look(base.path(), spec.clone()).await.expect("it is in the mirror");
    assert_eq!(
        path,
        base.path()
            .join(".highwater/plugins/source/cloudquery/xkcd/v1.6.0/plugin")
    );
    assert_eq!(std::fs::read(&path).expect("a file"), CONTENT);
    assert!(crate::process::is_executable(&path));
    std::fs::remove_dir_all(base.path().join("mirror")).expect("a folder");
    assert_eq!(look(base.path(), spec).await.expect("it is installed"), path);
    let all = installed(base.path()).expect("a cache");
    assert_eq!(
        all.iter().map(|one| one.plugin.to_string()).collect::<Vec<_>>(),
        ["source/cloudquery/xkcd@v1.6.0"]
    );
    assert_eq!(all[0].sha256, hex(&Sha256::digest(CONTENT)));
}

#[tokio::test]
async fn an_archive_of_another_sum_is_not_unpacked() {
    let base = tempfile::tempdir().expect("a folder");
    mirror(base.path(), Some(&"0".repeat(64)));
    let error = install(&xkcd(), ".", base.path()).await.expect_err("another sum");
    assert!(
        error.contains("has SHA-256 ") && error.contains("`package.json` says 0000"),
        "{error}"
    );
    assert_eq!(installed(base.path()).expect("a cache"), []);
    let left = std::fs::read_dir(base.path().join(".highwater/plugins/source/cloudquery/xkcd/v1.6.0"));
    assert_eq!(left.expect("a folder").count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn executables_and_archives_are_installed_as_they_are() {
    let base = tempfile::tempdir().expect("a folder");
    std::fs::write(base.path().join("file"), CONTENT).expect("a file");
    std::fs::write(
        base.path().join("file.zip"),
        archive::tests::archive("plugin-x", CONTENT, false),
    )
    .expect("a file");
    for from in ["file", "file.zip"] {
        let one = install(&xkcd(), from, base.path()).await.expect("it can be installed");
        assert_eq!(std::fs::read(one.path).expect("a file"), CONTENT, "{from}");
        assert_eq!(one.sha256, hex(&Sha256::digest(CONTENT)), "{from}");
    }
}

/// A server that answers each request with what is below a folder.
fn served(folder: PathBuf) -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            let _ = reader.read_line(&mut line);
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {}
            let mut out = &stream;
            let _ = match (
                path.strip_prefix("/moved"),
                std::fs::read(folder.join(path.trim_start_matches('/'))),
            ) {
                (Some(to), _) => write!(out, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"),
                (None, Ok(body)) => write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())
                    .and_then(|()| out.write_all(&body)),
                (None, Err(_)) => write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            };
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_mirror_over_http_is_read_also_where_it_leads_on() {
    let mirrored = tempfile::tempdir().expect("a folder");
    mirror(mirrored.path(), None);
    let url = served(mirrored.path().to_owned());
    for url in [url.clone(), format!("{url}/"), format!("{url}/moved")] {
        let base = tempfile::tempdir().expect("a folder");
        let one = install(&xkcd(), &url, base.path()).await.expect("it is in the mirror");
        assert_eq!(std::fs::read(one.path).expect("a file"), CONTENT, "{url}");
    }
    let base = tempfile::tempdir().expect("a folder");
    let other = HubPlugin::parse("source/cloudquery/other@v1.0.0").expect("a plugin");
    let error = install(&other, &url, base.path()).await.expect_err("it is not there");
    assert!(error.ends_with("it answers 404 Not Found"), "{error}");
}

#[tokio::test]
async fn a_mirror_that_is_away_is_known_at_once() {
    let base = tempfile::tempdir().expect("a folder");
    // Bound and closed again: nobody listens there.
    let port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let spec = json!({"path": "cloudquery/xkcd", "version": "v1.6.0", "mirror": format!("http://{port}")});
    let error = look(base.path(), spec).await.expect_err("nobody is there");
    assert_eq!(error.code(), "E0810");
    assert!(
        error
            .to_string()
            .contains("/cloudquery/source/xkcd/v1.6.0/package.json`: "),
        "{error}"
    );
}

#[tokio::test]
async fn file_of_another_sum_is_not_started() {
    let base = tempfile::tempdir().expect("a folder");
    let path = base.path().join("plugin");
    std::fs::write(&path, "abc").expect("a file");
    let check = async |sum: &str| {
        let spec = json!({"path": "plugin", "registry": "local", "sha256": sum});
        let spec: PluginSpec = serde_json::from_value(spec).expect("a spec");
        spec.check().expect("a sum");
        check_file("it", &spec, &path).await
    };
    let of_abc = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
    check(of_abc).await.expect("the same file");
    let error = check(&of_abc.replace("BA", "AB")).await.expect_err("another file");
    assert_eq!(api::Error::from(error).code(), "E0812");
}

#[tokio::test]
async fn names_do_not_become_paths() {
    let base = tempfile::tempdir().expect("a folder");
    for (path, version) in [
        ("../../etc/x", "v1"),
        ("a/..", "v1"),
        ("a/b/c", "v1"),
        ("a/b", "v1/../x"),
        ("a/b", "1.0"),
    ] {
        let error = look(base.path(), json!({"path": path, "version": version})).await;
        assert_eq!(error.expect_err("refused").code(), "E0810", "{path} {version}");
        assert_eq!(HubPlugin::parse(&format!("source/{path}@{version}")), None);
    }
}
