//! Broken configurations and environments: each ends with a message that says what to do, and the right exit code.
//!
//! The messages are snapshots in `snapshots/`; review them with `cargo insta review`.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use highwater_chaos_tests::binary;
use highwater_chaos_tests::process::{Runtime, look_every};
use rusqlite::Connection;

/// A configuration that is right; each case breaks it in one place.
const SOUND: &str = "\
version: 1

runtime:
  state: { path: ./state }
  admin: { listen: \"off\" }

pipelines:
  shop:
    source:
      connector: sqlite
      spec:
        path: ./shop.db
      streams: [account, event]

    destinations:
      copy:
        connector: sqlite
        spec:
          path: ./copy.db
";

/// A command, and what makes it fail.
struct Case {
    /// The snapshot's name.
    name: &'static str,
    /// The exit code that it must end with.
    exit: i32,
    command: &'static [&'static str],
    /// What is exchanged in the configuration.
    edits: &'static [(&'static str, &'static str)],
    prepare: fn(&Path) -> io::Result<()>,
    /// A directory on a file system of its own, and the options it is mounted with.
    mount: Option<(&'static str, &'static str)>,
}

const VALIDATE: &[&str] = &["validate"];
/// Ends by itself if nothing is wrong.
const RUN: &[&str] = &["-q", "run", "--until", "caught-up"];

impl Case {
    /// A case with a sound environment.
    const fn new(name: &'static str, exit: i32, command: &'static [&'static str]) -> Self {
        Case {
            name,
            exit,
            command,
            edits: &[],
            prepare: |_| Ok(()),
            mount: None,
        }
    }

    const fn edit(self, edits: &'static [(&'static str, &'static str)]) -> Self {
        Case { edits, ..self }
    }

    const fn prepare(self, prepare: fn(&Path) -> io::Result<()>) -> Self {
        Case { prepare, ..self }
    }

    const fn mount(self, directory: &'static str, options: &'static str) -> Self {
        Case {
            mount: Some((directory, options)),
            ..self
        }
    }

    fn check(&self) -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        make_source(&dir.path().join("shop.db")).map_err(io::Error::other)?;
        let mut config = SOUND.to_owned();
        for (from, to) in self.edits {
            assert!(
                config.contains(from),
                "{}: the sound configuration has no `{from}`",
                self.name
            );
            config = config.replacen(from, to, 1);
        }
        std::fs::write(dir.path().join("highwater.yaml"), config)?;
        (self.prepare)(dir.path())?;
        let output = self.run(dir.path())?;
        self.assert_matches(dir.path(), &output);
        Ok(())
    }

    fn run(&self, dir: &Path) -> io::Result<Output> {
        let mut command = match self.mount {
            None => Command::new(binary::path()),
            // A namespace of our own: root is not needed, and nothing is left behind.
            Some((directory, options)) => {
                std::fs::create_dir_all(dir.join(directory))?;
                let script = format!("mount -t tmpfs -o {options} none {directory} && exec \"$0\" \"$@\"");
                let mut command = Command::new("unshare");
                command
                    .args(["--map-root-user", "--mount", "sh", "-c", &script])
                    .arg(binary::path());
                command
            }
        };
        command
            .args(self.command)
            .current_dir(dir)
            .env("NO_COLOR", "1")
            .env_remove("SHOP_DB")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let ended = look_every(Duration::from_millis(20), ENDS_WITHIN, || {
            child.try_wait().ok().flatten()
        });
        if ended.is_none() {
            child.kill()?;
        }
        child.wait_with_output()
    }

    fn assert_matches(&self, dir: &Path, output: &Output) {
        let mut text = format!("$ highwater {}\n", self.command.join(" "));
        for stream in [&output.stdout, &output.stderr] {
            text.push_str(&String::from_utf8_lossy(stream));
        }
        // First the ending: one that is wrong must never become a snapshot.
        assert_eq!(
            output.status.code(),
            Some(self.exit),
            "{} (none: still ran after {ENDS_WITHIN:?}): {text}",
            self.name
        );
        let _ = writeln!(text, "exit {}", self.exit);
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let real = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        for path in [real.as_path(), dir] {
            settings.add_filter(&regex_of(&path.display().to_string()), "[dir]");
        }
        for (pattern, name) in FILTERS {
            settings.add_filter(pattern, name);
        }
        settings.bind(|| insta::assert_snapshot!(self.name, text));
    }
}

/// A command that cannot succeed says so at once.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What differs from run to run.
const FILTERS: [(&str, &str); 7] = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "[time]"),
    (r"\b\d+(\.\d+)? (ms|s)\b", "[span]"),
    (r"(pid|process) \d+", "$1 [pid]"),
    (r"on host `[^`]+`", "on host `[host]`"),
    (r"(next_try_seconds|elapsed_seconds|attempt)=[0-9.]+", "$1=[n]"),
    (r"127\.0\.0\.1:\d{5}", "127.0.0.1:[port]"),
    (r"on [\w.-]+ pid", "on [host] pid"),
];

fn regex_of(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_alphanumeric() {
                c.to_string()
            } else {
                format!("\\{c}")
            }
        })
        .collect()
}

fn make_source(path: &Path) -> rusqlite::Result<()> {
    Connection::open(path)?.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
         CREATE TABLE event (worker INTEGER, seq INTEGER);
         INSERT INTO account VALUES (1, 100), (2, 200);
         INSERT INTO event VALUES (1, 1);",
    )
}

#[test]
fn broken_configuration_is_refused_with_the_line_and_the_fix() -> io::Result<()> {
    let cases = [
        Case::new("unknown_field", 2, VALIDATE).edit(&[(
            "        connector: sqlite\n        spec:\n          path",
            "        connector: sqlite\n        batch: { wait_maximum: 1m }\n        spec:\n          path",
        )]),
        Case::new("bad_size", 2, VALIDATE).edit(&[("  admin:", "  memory: { limit: 64MB0 }\n  admin:")]),
        Case::new("bare_number_for_a_duration", 2, VALIDATE)
            .edit(&[("  admin:", "  shutdown: { timeout: 60 }\n  admin:")]),
        Case::new("missing_variable", 2, VALIDATE).edit(&[("./shop.db", "${SHOP_DB}")]),
        Case::new("plaintext_admin_token", 2, &["validate", "--deny-warnings"])
            .edit(&[("\"off\"", "\"127.0.0.1:0\", token: hunter2hunter2")]),
        Case::new("listening_beyond_loopback_without_a_token", 2, VALIDATE).edit(&[("\"off\"", "\"0.0.0.0:7400\"")]),
        Case::new("unknown_connector", 2, VALIDATE).edit(&[("connector: sqlite", "connector: sqlight")]),
        Case::new("upsert_into_csv", 2, VALIDATE).edit(&[(
            "        connector: sqlite\n        spec:\n          path: ./copy.db",
            "        connector: csv\n        write: upsert\n        spec:\n          path: ./out/{stream}/",
        )]),
        Case::new("path_template_without_stream", 2, VALIDATE).edit(&[(
            "        connector: sqlite\n        spec:\n          path: ./copy.db",
            "        connector: parquet\n        spec:\n          path: ./out/",
        )]),
        Case::new("same_key_twice", 2, VALIDATE).edit(&[("  admin:", "  state: { path: ./elsewhere }\n  admin:")]),
        Case::new("bad_yaml", 2, VALIDATE).edit(&[("streams: [account, event]", "streams: [account, event")]),
        Case::new("tab_as_indentation", 2, VALIDATE).edit(&[("  shop:", "\tshop:")]),
        Case::new("alias_bomb", 2, VALIDATE).prepare(|dir| {
            let mut bomb = "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
            for level in 1..10 {
                let lower = vec![format!("*a{}", level - 1); 10].join(", ");
                let _ = writeln!(bomb, "a{level}: &a{level} [{lower}]");
            }
            std::fs::write(dir.join("highwater.yaml"), bomb)
        }),
        Case::new("empty_configuration", 2, VALIDATE).prepare(|dir| std::fs::write(dir.join("highwater.yaml"), "")),
        Case::new("configuration_is_not_there", 2, VALIDATE)
            .prepare(|dir| std::fs::remove_file(dir.join("highwater.yaml"))),
        Case::new("configuration_is_not_text", 2, VALIDATE)
            .prepare(|dir| std::fs::write(dir.join("highwater.yaml"), b"version: 1\n\xff\xfe")),
        Case::new("no_destination", 2, VALIDATE).edit(&[(
            "    destinations:\n      copy:\n        connector: sqlite\n        spec:\n          path: ./copy.db\n",
            "    destinations: {}\n",
        )]),
        Case::new("missing_path", 2, VALIDATE).edit(&[("        path: ./shop.db\n", "        capture: triggers\n")]),
        Case::new("unknown_field_of_a_connector", 2, VALIDATE).edit(&[(
            "        path: ./shop.db",
            "        path: ./shop.db\n        captur: triggers",
        )]),
        Case::new("list_instead_of_a_mapping", 2, VALIDATE).edit(&[("{ path: ./state }", "[./state]")]),
        Case::new("later_version", 2, VALIDATE).edit(&[("version: 1", "version: 2")]),
        Case::new("budget_too_small", 2, VALIDATE).edit(&[("  admin:", "  memory: { limit: 1MiB }\n  admin:")]),
        Case::new("several_at_once", 2, VALIDATE).edit(&[
            ("  admin:", "  memory: { limit: 5 }\n  admin:"),
            ("connector: sqlite", "connector: postgress"),
            ("./copy.db", "${NOWHERE}"),
        ]),
        Case::new("unknown_command", 2, &["runn"]),
        Case::new("unknown_pipeline", 2, &["run", "--pipeline", "shopp"]),
        Case::new("unknown_code", 2, &["explain", "E9999"]),
    ];
    cases.iter().try_for_each(Case::check)
}

#[test]
fn broken_source_is_refused_with_the_remedy() -> io::Result<()> {
    let cases = [
        Case::new("source_is_not_there", 3, RUN).edit(&[("./shop.db", "./shopp.db")]),
        Case::new("source_is_a_directory", 3, RUN)
            .edit(&[("./shop.db", "./folder")])
            .prepare(|dir| std::fs::create_dir(dir.join("folder"))),
        Case::new("source_is_empty", 3, RUN)
            .edit(&[("./shop.db", "./empty.db")])
            .prepare(|dir| std::fs::write(dir.join("empty.db"), b"")),
        Case::new("source_is_no_database", 3, RUN)
            .edit(&[("./shop.db", "./text.db")])
            .prepare(|dir| std::fs::write(dir.join("text.db"), "id,balance\n1,100\n".repeat(100))),
        Case::new("stream_is_not_there", 2, RUN).edit(&[("[account, event]", "[acount]")]),
        Case::new("table_without_a_key_into_upsert", 3, RUN).edit(&[(
            "        connector: sqlite\n        spec:\n          path: ./copy.db",
            "        connector: sqlite\n        write: upsert\n        spec:\n          path: ./copy.db",
        )]),
    ];
    cases.iter().try_for_each(Case::check)
}

#[test]
fn broken_environment_is_refused_with_the_remedy() -> io::Result<()> {
    let cases = [
        Case::new("destination_in_a_read_only_directory", 3, RUN).edit(&[("./copy.db", "./sealed/copy.db")]).mount("sealed", "ro"),
        Case::new("state_in_a_read_only_directory", 3, RUN).edit(&[("./state", "./sealed/state")]).mount("sealed", "ro"),
        Case::new("state_on_a_full_disk", 3, RUN).edit(&[("./state", "./small/state")]).mount("small", "size=64k"),
        Case::new("destination_on_a_full_disk", 3, RUN)
            .edit(&[("./copy.db", "./small/copy.db")])
            .prepare(|dir| {
                let fill = "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) INSERT INTO account SELECT i, i FROM n";
                Connection::open(dir.join("shop.db")).and_then(|c| c.execute_batch(fill)).map_err(io::Error::other)
            })
            .mount("small", "size=256k"),
        Case::new("destination_is_a_directory", 3, RUN).prepare(|dir| std::fs::create_dir(dir.join("copy.db"))),
        Case::new("destination_is_no_database", 3, RUN).prepare(|dir| std::fs::write(dir.join("copy.db"), "some notes\n".repeat(200))),
        Case::new("state_is_a_file", 3, RUN).prepare(|dir| std::fs::write(dir.join("state"), "x")),
        Case::new("nothing_runs_that_could_be_asked", 3, &["status"]),
        Case::new("nothing_runs_that_could_resync", 3, &["resync", "shop", "--stream", "account", "--destination", "copy", "--yes"]),
    ];
    cases.iter().try_for_each(Case::check)
}

/// A source that waits for an operator does not catch up by itself: a bounded run must end and say why.
#[test]
fn value_that_does_not_fit_its_column_ends_a_bounded_run() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("shop.db");
    make_source(&source).map_err(io::Error::other)?;
    let misfit = "INSERT INTO account VALUES (3, 'a lot')";
    Connection::open(&source)
        .and_then(|c| c.execute_batch(misfit))
        .map_err(io::Error::other)?;
    std::fs::write(dir.path().join("highwater.yaml"), SOUND)?;
    let output = Case::new("value_that_does_not_fit", 3, RUN).run(dir.path())?;
    let words = String::from_utf8_lossy(&output.stderr);
    for word in ["E0220", "`account`.`balance`", "id 3", "overrides"] {
        assert!(words.contains(word), "no {word} in: {words}");
    }
    assert_eq!(output.status.code(), Some(3), "{words}");
    Ok(())
}

#[test]
fn port_in_use_is_named() -> io::Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let case = Case::new("port_in_use", 3, RUN);
    let dir = tempfile::tempdir()?;
    make_source(&dir.path().join("shop.db")).map_err(io::Error::other)?;
    std::fs::write(
        dir.path().join("highwater.yaml"),
        SOUND.replace("off", &taken.local_addr()?.to_string()),
    )?;
    case.assert_matches(dir.path(), &case.run(dir.path())?);
    Ok(())
}

#[test]
fn locked_state_directory_names_its_owner() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    make_source(&dir.path().join("shop.db")).map_err(io::Error::other)?;
    std::fs::write(dir.path().join("highwater.yaml"), SOUND)?;
    let mut owner = Runtime::start(dir.path(), &dir.path().join("owner.log"), &["run"], &[])?;
    let is_up = look_every(Duration::from_millis(20), ENDS_WITHIN, || {
        dir.path().join("copy.db").exists().then_some(())
    });
    assert!(is_up.is_some(), "{}", owner.last_words());
    let case = Case::new("state_directory_locked", 3, RUN);
    case.assert_matches(dir.path(), &case.run(dir.path())?);
    owner.kill()?;
    Ok(())
}

#[test]
fn corrupt_state_directory_is_said_and_the_destination_is_asked() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    make_source(&dir.path().join("shop.db")).map_err(io::Error::other)?;
    std::fs::write(dir.path().join("highwater.yaml"), SOUND)?;
    let case = Case::new("corrupt_state", 0, RUN);
    let first = case.run(dir.path())?;
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    scramble(&dir.path().join("state"))?;
    case.assert_matches(dir.path(), &case.run(dir.path())?);
    Ok(())
}

/// Overwrites every file with something else.
fn scramble(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => scramble(&entry.path())?,
            kind if kind.is_file() => {
                let bytes = vec![0xa5; entry.metadata()?.len() as usize];
                std::fs::write(entry.path(), bytes)?;
            }
            _ => {}
        }
    }
    Ok(())
}
