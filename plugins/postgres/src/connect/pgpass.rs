//! The password file, `~/.pgpass`.
//!
//! Format, a line each: `hostname:port:database:username:password`; `*` matches everything; `\:` and `\\` are escapes; `#`
//! begins a comment. The first line that matches wins. As in libpq, the file is ignored if its group or others have any
//! access to it, and the host of a Unix socket in the default place is `localhost`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::settings::Host;

/// A larger file is no password file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the file is if nobody says.
pub(super) fn default_path() -> Option<PathBuf> {
    std::env::var_os("PGPASSFILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")))
}

/// The password of a login, if the file knows it.
pub(super) fn look_up(path: &Path, host: &Host, database: &str, user: &str) -> Option<SecretString> {
    let text = read(path)?;
    let name = match &host.name {
        name if name.starts_with('/') && is_default_socket_directory(name) => "localhost",
        name => name,
    };
    find(&text, [name, &host.port.to_string(), database, user]).map(SecretString::from)
}

fn is_default_socket_directory(name: &str) -> bool {
    matches!(name, "/tmp" | "/run/postgresql" | "/var/run/postgresql")
}

fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        tracing::warn!(path = %path.display(), "the password file is ignored: it is no file");
        return None;
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format_args!("{mode:03o}"),
            hint = format_args!("chmod 0600 {}", path.display()),
            "the password file is ignored: its group or others have access to it"
        );
        return None;
    }
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| matching(line.trim_end_matches('\r'), wanted))
}

fn matching(line: &str, wanted: [&str; 4]) -> Option<String> {
    let mut rest = line;
    for wanted in wanted {
        let (raw, field, after) = next_field(rest)?;
        if raw != "*" && field != wanted {
            return None;
        }
        rest = after;
    }
    let (_, password, _) = next_field_to_the_end(rest);
    (!password.is_empty()).then_some(password)
}

/// As written, without escapes, and what follows the colon.
fn next_field(text: &str) -> Option<(&str, String, &str)> {
    let (raw, field, after) = next_field_to_the_end(text);
    after.map(|after| (raw, field, after))
}

fn next_field_to_the_end(text: &str) -> (&str, String, Option<&str>) {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ':' => return (&text[..at], field, Some(&text[at + 1..])),
            '\\' => field.extend(chars.next().map(|(_, escaped)| escaped)),
            char => field.push(char),
        }
    }
    (text, field, None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn first_matching_line_wins() {
        let text = "# h:5432:db:u:comment\n\nh:5432:db:other:no\nh:*:db:u:first\n*:*:*:*:last\r\n";
        let password = |wanted| find(text, wanted);
        assert_eq!(password(["h", "5432", "db", "u"]).as_deref(), Some("first"));
        assert_eq!(password(["g", "5432", "db", "u"]).as_deref(), Some("last"));
        assert_eq!(find("h:5432:db:u", ["h", "5432", "db", "u"]), None);
        assert_eq!(find("h:5432:db:u:", ["h", "5432", "db", "u"]), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let text = r"\:\:1:5432:d\\b:u:p\:w\\";
        assert_eq!(find(text, ["::1", "5432", r"d\b", "u"]).as_deref(), Some(r"p:w\"));
        assert_eq!(
            find(r"\*:1:d:u:p", ["h", "1", "d", "u"]),
            None,
            "an escaped star is a star"
        );
    }

    #[test]
    fn file_that_others_may_read_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        fs::write(&path, "*:*:*:*:p").unwrap();
        let host = Host {
            name: "h".to_owned(),
            port: 1,
        };
        for (mode, is_used) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(look_up(&path, &host, "d", "u").is_some(), is_used, "{mode:o}");
        }
        assert!(look_up(directory.path(), &host, "d", "u").is_none());
        assert!(look_up(&directory.path().join("missing"), &host, "d", "u").is_none());
    }
}
