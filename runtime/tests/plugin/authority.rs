//! Callers that put the percent-encoded path of the socket into `:authority`, as grpc-go and gRPC's C core do.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::caller::Caller;
use crate::process::Process;

const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header with the index of its name in HPACK's static table, put into the table of the connection.
fn indexed(name: u8, value: &str) -> Vec<u8> {
    let mut field = vec![0x40 | name, value.len() as u8];
    field.extend_from_slice(value.as_bytes());
    field
}

fn named(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x40, name.len() as u8];
    field.extend_from_slice(name.as_bytes());
    field.push(value.len() as u8);
    field.extend_from_slice(value.as_bytes());
    field
}

/// The first request of grpc-go on a connection, and a second one that only refers to the table.
fn calls(authority: &str) -> Vec<u8> {
    let post = vec![0x83];
    let http = vec![0x86];
    let first = [
        post.clone(),
        http.clone(),
        indexed(4, "/cloudquery.discovery.v1.Discovery/GetVersions"),
        indexed(1, authority),
        indexed(31, "application/grpc"),
        indexed(58, "grpc-go/1.83.0"),
        named("te", "trailers"),
    ]
    .concat();
    // The newest entry is 62: te, user-agent, content-type, :authority, :path.
    let second = [post, http, vec![0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]].concat();
    // An empty message: not compressed, no bytes.
    let message = [0; 5];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &first),
        frame(0, END_STREAM, 1, &message),
        frame(HEADERS, END_HEADERS, 3, &second),
        frame(0, END_STREAM, 3, &message),
    ]
    .concat()
}

/// How often the answer `[3]` comes.
fn answers(socket: &Path, authority: &str) -> usize {
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    connection.write_all(&calls(authority)).unwrap();
    let three = [0, 0, 0, 0, 3, 0x0a, 1, 3];
    let (mut got, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let count = got.windows(three.len()).filter(|window| *window == three).count();
        let len = if count < 2 {
            connection.read(&mut bytes).unwrap()
        } else {
            0
        };
        if len == 0 {
            return count;
        }
        got.extend_from_slice(&bytes[..len]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_authority_is_answered() {
    let process = Process::start("highwater-destination-sqlite");
    let socket = process.socket();
    Caller::dial(&socket).await;
    let path = socket.to_str().unwrap();
    for authority in [
        path.replace('/', "%2F"),
        path.to_owned(),
        "localhost".to_owned(),
        "127.0.0.1:7777".to_owned(),
    ] {
        assert_eq!(answers(&socket, &authority), 2, "{authority}");
    }
}

/// gRPC's C core, as every caller in Python has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_of_python_calls_on_a_unix_socket() {
    let named = std::env::var_os("HIGHWATER_TEST_PYTHON").map(Into::into);
    let python = named.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python/bin/python3"));
    let script = "
import sys, grpc
channel = grpc.insecure_channel('unix:' + sys.argv[1])
call = channel.unary_unary('/cloudquery.discovery.v1.Discovery/GetVersions')
print([call(b'', timeout=10).hex() for _ in range(300)][-1])
";
    let found = Command::new(&python).args(["-c", "import grpc"]).status();
    if !found.is_ok_and(|status| status.success()) {
        println!(
            "skipped: `{}` has no package `grpcio`; ./check installs it",
            python.display()
        );
        return;
    }
    let process = Process::start("highwater-destination-sqlite");
    Caller::dial(&process.socket()).await;
    let answer = Command::new(python)
        .args(["-c", script])
        .arg(process.socket())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    assert_eq!(said.trim(), "0a0103", "{}", String::from_utf8_lossy(&answer.stderr));
}
