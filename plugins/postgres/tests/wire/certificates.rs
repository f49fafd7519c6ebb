//! Certificates, made by `openssl`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use test_systems::Postgres;

/// A directory with keys and certificates.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    pub fn new() -> Self {
        Certificates(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// `NAME.crt` and `NAME.key`: self-signed, as `openssl req -x509` makes it, which is an authority at the same time.
    pub fn self_signed(&self, name: &str, common_name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={common_name} -keyout {name}.key \
             -out {name}.crt"
        ));
        fs::set_permissions(self.path(&format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// `NAME.crt` and `NAME.key`, signed by an authority. `digest`: `sha256`, `sha384`, `sha512`.
    pub fn signed(&self, name: &str, authority: &str, common_name: &str, alternative_name: Option<&str>, digest: &str) {
        self.openssl(&format!(
            "req -new -newkey rsa:2048 -nodes -subj /CN={common_name} -keyout {name}.key -out {name}.csr"
        ));
        let alternative = alternative_name
            .map(|name| format!("subjectAltName={name}\n"))
            .unwrap_or_default();
        fs::write(
            self.path("extensions"),
            format!("basicConstraints=CA:FALSE\n{alternative}"),
        )
        .unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -days 2 -{digest} -extfile extensions \
             -out {name}.crt"
        ));
        fs::set_permissions(self.path(&format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Puts a file where the server finds and may read it.
    pub fn install(&self, name: &str, server: &Postgres, to: &str) {
        let to = server.data().join(to);
        fs::copy(self.path(name), &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        let owner = fs::metadata(server.data()).unwrap();
        chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory: PathBuf| Path::new(&directory).join(program).exists())
}
