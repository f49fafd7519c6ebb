use std::time::Instant;

use super::*;

/// A program that is a shell script.
fn script(text: &str) -> (tempfile::TempDir, Program) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plugin.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let program = Program {
        name: "sample".to_owned(),
        path,
        arguments: vec!["serve".to_owned()],
        environment: BTreeMap::new(),
    };
    (folder, program)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process is there and not a zombie.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The processes of a group, as the system lists them.
fn members(group: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let in_group = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields.get(2).is_some_and(|field| *field == group.to_string()) && is_alive(*pid)
    };
    pids.filter(in_group).collect()
}

#[tokio::test]
async fn a_plugin_is_a_process_group_of_its_own_and_its_status_is_its_own() {
    let (_folder, program) = script(r#"echo "$$ $1"; exit 7"#);
    let process = Process::start(&program).expect("it starts");
    let status = process.ended().await.expect("it ends");
    assert_eq!(ending(status), "it exited with status 7");
    let pid = process.group.as_raw_nonzero().get();
    assert_eq!(process.tail().last_lines(), [format!("{pid} serve")]);
    assert_ne!(pid, rustix::process::getpgrp().as_raw_nonzero().get());
}

#[tokio::test]
async fn what_was_written_before_an_answer_is_known_with_it() {
    let text = r#"for i in 1 2 3; do
  echo "{\"level\":\"error\",\"message\":\"no\",\"table\":\"t$i\"}"; : > "$0.$i"
done; while :; do sleep 0.05; done"#;
    let (folder, program) = script(text);
    let process = Process::start(&program).expect("it starts");
    let answer = folder.path().join("plugin.sh.3");
    until("the plugin has answered", || answer.exists()).await;
    process.tail().settled().await;
    let failed: Vec<String> = process.tail().take_failed_tables().into_keys().collect();
    assert_eq!(failed, ["t1", "t2", "t3"]);
    assert_eq!(process.tail().take_failed_tables(), BTreeMap::new(), "once");
}

#[tokio::test]
async fn stop_asks_first() {
    let (_folder, program) = script(r#"trap 'echo flushed; exit 0' INT; echo up; while :; do sleep 0.05; done"#);
    let process = Process::start(&program).expect("it starts");
    let tail = Arc::clone(process.tail());
    until("the plugin is up", || tail.last_lines() == ["up"]).await;
    let status = process.stop().await.expect("it ends");
    assert_eq!(ending(status), "it exited with status 0");
    assert_eq!(tail.last_lines(), ["up", "flushed"]);
}

#[tokio::test]
async fn a_plugin_that_does_not_listen_is_killed_with_what_it_started() {
    let (_folder, program) = script(r#"trap '' INT TERM; sleep 600 & echo up; while :; do sleep 0.05; done"#);
    let process = Process::start(&program).expect("it starts");
    let tail = Arc::clone(process.tail());
    until("the plugin is up", || tail.last_lines() == ["up"]).await;
    let group = process.group.as_raw_nonzero().get();
    let start = Instant::now();
    let status = process.stop().await.expect("it ends");
    assert!(start.elapsed() >= GRACE);
    assert!(ending(status).starts_with("it was killed by signal 9"));
    until("the whole group is gone", || members(group).is_empty()).await;
}

#[tokio::test]
async fn a_plugin_ends_when_its_owner_lets_go() {
    let (_folder, program) = script(r#"trap 'exit 0' INT; sleep 600 & echo up; while :; do sleep 0.05; done"#);
    let process = Process::start(&program).expect("it starts");
    let tail = Arc::clone(process.tail());
    until("the plugin is up", || tail.last_lines() == ["up"]).await;
    let group = process.group.as_raw_nonzero().get();
    assert!(members(group).len() >= 2, "the plugin and its watcher");
    drop(process);
    until("the whole group is gone", || members(group).is_empty()).await;
}

/// Run by the next test in a process of its own: starts a plugin, says which, and waits to be killed.
#[tokio::test]
async fn owner_to_be_killed() {
    let Some(path) = std::env::var_os("TEST_PLUGIN_PATH") else {
        return;
    };
    let program = Program {
        name: "sample".to_owned(),
        path: path.into(),
        arguments: Vec::new(),
        environment: BTreeMap::new(),
    };
    let process = Process::start(&program).expect("it starts");
    println!("group {}", process.group.as_raw_nonzero());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_plugin_does_not_outlive_a_killed_runtime() {
    use tokio::io::AsyncBufReadExt as _;
    let (_folder, program) = script("trap '' INT; sleep 600 & while :; do sleep 0.05; done");
    let mut owner = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "process::tests::owner_to_be_killed", "--nocapture"])
        .env("TEST_PLUGIN_PATH", &program.path)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = tokio::io::BufReader::new(owner.stdout.take().expect("piped")).lines();
    let group = loop {
        let line = lines.next_line().await.expect("readable").expect("it says the group");
        if let Some((_, group)) = line.split_once("group ") {
            break group.trim().parse::<i32>().expect("a number");
        }
    };
    until("the plugin runs", || members(group).len() >= 3).await;
    // SIGKILL: no destructor, no handler.
    owner.kill().await.expect("it is killed");
    until("the whole group is gone", || members(group).is_empty()).await;
}

#[tokio::test]
async fn a_flood_of_output_is_drained_and_only_its_end_kept() {
    let (_folder, program) = script("i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; i=$((i+1)); done; echo last");
    let process = Process::start(&program).expect("it starts");
    let status = process.ended().await.expect("it ends");
    assert!(status.success());
    let lines = process.tail().last_lines();
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (12, Some("last")));
}

#[tokio::test]
async fn a_line_without_end_takes_bounded_memory() {
    let (_folder, program) = script("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last");
    let process = Process::start(&program).expect("it starts");
    process.ended().await.expect("it ends");
    let lines = process.tail().last_lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].len() < 3_000 && lines[1] == "last");
}

#[test]
fn our_settings_stay_with_us() {
    let ours = [
        ("PATH", "/bin"),
        ("HIGHWATER_LOG", "debug"),
        ("CQ_SOMETHING", "1"),
        ("AWS_REGION", "x"),
        ("NOT_CQ_", "y"),
    ];
    let ours = ours.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let kept: Vec<_> = environment(ours.into_iter())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(kept, ["PATH", "AWS_REGION", "NOT_CQ_"]);
}
