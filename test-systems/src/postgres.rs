//! A PostgreSQL server of our own.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Missing, free_port};

/// The environment variable that names another server's `bin` directory, to run the same tests on another version.
pub const BIN_VARIABLE: &str = "HIGHWATER_TEST_POSTGRES_BIN";

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the server when this process is gone, however it went: nobody else holds the other end of the pipe. The watcher is
/// nobody's child, so that the server does not wonder about it.
const WATCHED: &str =
    r#"exec 3<&0; ( { read -r _ <&3; kill -QUIT $$; } & ) 2>/dev/null; exec 3<&- </dev/null; exec "$0" "$@""#;

/// PostgreSQL refuses to run as root: then it runs as this user, which every system has.
const UNPRIVILEGED: &str = "nobody";

/// What differs from the defaults.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Lines of `postgresql.conf`, after ours.
    pub settings: Vec<(String, String)>,
    /// Lines of `pg_hba.conf`, before ours, which trust everybody on the loopback.
    pub hba: Vec<String>,
    /// More arguments of `initdb`.
    pub initdb: Vec<String>,
}

impl PostgresOptions {
    /// With one more line of `postgresql.conf`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends sessions and writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers from the log.
    Immediate,
}

/// A running server. Superuser `postgres`, database `postgres`, UTF-8, logical decoding on.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// Starts the newest server that is installed.
    pub fn start() -> Result<Self, Missing> {
        Self::start_with(&PostgresOptions::default())
    }

    /// Starts one that differs from the defaults.
    ///
    /// # Panics
    ///
    /// If the server is there but does not start.
    pub fn start_with(options: &PostgresOptions) -> Result<Self, Missing> {
        let bin = bin_directory()?;
        let mut server = Self::create(bin, options).unwrap_or_else(|error| panic!("cannot make a database: {error}"));
        for attempt in 0.. {
            match server.launch() {
                Ok(()) => break,
                // Somebody else took the port.
                Err(_) if attempt < 3 => server.move_to_a_free_port().expect("a free port"),
                Err(error) => panic!("cannot start PostgreSQL: {error}\n{}", server.log()),
            }
        }
        Ok(server)
    }

    fn create(bin: PathBuf, options: &PostgresOptions) -> io::Result<Self> {
        let server = Postgres {
            bin,
            directory: Self::directory()?,
            port: free_port()?,
            child: None,
        };
        let made = server
            .command("initdb")?
            .arg("-D")
            .arg(server.data())
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale",
                "C.UTF-8",
                "--no-sync",
            ])
            .args(&options.initdb)
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let mut conf = String::from(
            "listen_addresses = '127.0.0.1'\nwal_level = logical\nmax_wal_senders = 20\nmax_replication_slots = 20\n\
             max_connections = 100\nshared_buffers = 64MB\nfsync = on\nlogging_collector = off\n",
        );
        conf.push_str(&format!(
            "unix_socket_directories = '{}'\n",
            server.directory.path().display()
        ));
        for (name, value) in &options.settings {
            conf.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        server.append("postgresql.conf", &conf)?;
        if !options.hba.is_empty() {
            let path = server.data().join("pg_hba.conf");
            let ours = fs::read_to_string(&path)?;
            fs::write(&path, format!("{}\n{ours}", options.hba.join("\n")))?;
        }
        Ok(server)
    }

    fn directory() -> io::Result<TempDir> {
        let directory = tempfile::Builder::new().prefix("highwater-postgres-").tempdir()?;
        if let Some((uid, gid)) = other_user()? {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        // The tests' own user reads the log and the socket.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        Ok(directory)
    }

    fn append(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.data().join(name);
        let before = fs::read_to_string(&path)?;
        fs::write(path, before + text)
    }

    fn move_to_a_free_port(&mut self) -> io::Result<()> {
        self.port = free_port()?;
        Ok(())
    }

    fn launch(&mut self) -> io::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let child = self
            .command("sh")?
            .args(["-c", WATCHED])
            .arg(self.bin.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            // Open as long as the child is held.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().transpose())
                .transpose()?
            {
                self.child = None;
                return Err(io::Error::other(format!("the server ended with {status}")));
            }
            // "ready" (or "standby") is the eighth line once the server takes connections.
            let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            if pid_file
                .lines()
                .nth(7)
                .is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the server is not ready in time"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server; its data stays.
    ///
    /// # Panics
    ///
    /// If it does not stop.
    pub fn stop(&mut self, how: Shutdown) {
        let Some(mut child) = self.child.take() else { return };
        let signal = match how {
            Shutdown::Fast => rustix::process::Signal::INT,
            Shutdown::Immediate => rustix::process::Signal::QUIT,
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("our own child");
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("our own child").is_none() {
            assert!(Instant::now() < deadline, "PostgreSQL does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again after [`stop`](Self::stop), on the same port.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "stop it first");
        if let Err(error) = self.launch() {
            panic!("cannot start PostgreSQL again: {error}\n{}", self.log());
        }
    }

    /// A standby of this server, which is stopped meanwhile: a copy of its data that follows its log. More settings of the
    /// standby as lines of `postgresql.conf`.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn standby(&mut self, settings: &[(&str, &str)]) -> Self {
        self.stop(Shutdown::Fast);
        let standby = self.copy(settings);
        self.start_again();
        let mut standby = standby.unwrap_or_else(|error| panic!("cannot copy a database: {error}"));
        if let Err(error) = standby.launch() {
            panic!("cannot start a standby: {error}\n{}", standby.log());
        }
        standby
    }

    fn copy(&self, settings: &[(&str, &str)]) -> io::Result<Self> {
        let copy = Postgres {
            bin: self.bin.clone(),
            directory: Self::directory()?,
            port: free_port()?,
            child: None,
        };
        let copied = self
            .command("cp")?
            .arg("-a")
            .arg(self.data())
            .arg(copy.data())
            .status()?;
        if !copied.success() {
            return Err(io::Error::other(format!("cp ended with {copied}")));
        }
        let mut conf = format!(
            "unix_socket_directories = '{}'\nprimary_conninfo = 'host=127.0.0.1 port={} user=postgres dbname=postgres'\n",
            copy.directory.path().display(),
            self.port
        );
        for (name, value) in settings {
            conf.push_str(&format!("{name} = '{value}'\n"));
        }
        copy.append("postgresql.conf", &conf)?;
        fs::write(copy.data().join("standby.signal"), "")?;
        Ok(copy)
    }

    /// The loopback port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its Unix socket is.
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// `postgres://postgres@127.0.0.1:PORT/DATABASE`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        let text = fs::read_to_string(self.data().join("PG_VERSION")).unwrap_or_default();
        text.trim().parse().expect("PG_VERSION is a number")
    }

    /// One of the server's own programs, such as `pgbench`, as the server's user; `None` if it is not installed.
    pub fn program(&self, name: &str) -> Option<Command> {
        if !self.bin.join(name).exists() {
            return None;
        }
        self.command(name).ok()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// A program as the server's user: of the server's own directory if it is there, else of the system.
    fn command(&self, name: &str) -> io::Result<Command> {
        let own = self.bin.join(name);
        let mut command = if own.exists() {
            Command::new(own)
        } else {
            Command::new(name)
        };
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = other_user()? {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            // At once: nobody needs this data again. SIGKILL would leave its children and shared memory behind.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = child.wait();
        }
    }
}

/// The user to run the server as, if it cannot be ours.
fn other_user() -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let mut fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&UNPRIVILEGED))
        .into_iter()
        .flatten()
        .skip(2);
    let mut number = || fields.next().and_then(|text| text.parse::<u32>().ok());
    match (number(), number()) {
        (Some(uid), Some(gid)) => Ok(Some((uid, gid))),
        _ => Err(io::Error::other(format!(
            "there is no user `{UNPRIVILEGED}` to run PostgreSQL as"
        ))),
    }
}

/// Where the server's programs are: named by [`BIN_VARIABLE`], or the newest of Debian's, or beside `postgres` on `PATH`.
fn bin_directory() -> Result<PathBuf, Missing> {
    if let Some(named) = std::env::var_os(BIN_VARIABLE) {
        return Ok(named.into());
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    if let Some((_, newest)) = versions.pop() {
        return Ok(newest);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
        .ok_or_else(|| {
            Missing(
                "no PostgreSQL server: install `postgresql` (for example `sudo apt-get install postgresql`)".to_owned(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_starts_stops_and_starts_again_with_its_data() {
        let mut server = match Postgres::start() {
            Ok(server) => server,
            Err(missing) => return eprintln!("skipped: {missing}"),
        };
        assert!(server.major() >= 15);
        let port = server.port();
        server.stop(Shutdown::Immediate);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        server.start_again();
        assert_eq!(server.port(), port);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(server.log().contains("automatic recovery"), "{}", server.log());
        server.stop(Shutdown::Fast);
    }

    /// Started by the test below, which kills it.
    #[test]
    #[ignore = "waits to be killed"]
    fn holds_a_server_until_killed() {
        let Ok(server) = Postgres::start() else { return };
        println!("port {}", server.port());
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn server_ends_with_its_process_even_if_that_is_killed() {
        use std::io::BufRead;
        if let Err(missing) = bin_directory() {
            return eprintln!("skipped: {missing}");
        }
        let mut holder = Command::new(std::env::current_exe().expect("a test binary"))
            .args([
                "--ignored",
                "--exact",
                "postgres::tests::holds_a_server_until_killed",
                "--nocapture",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this very binary");
        let lines = io::BufReader::new(holder.stdout.take().expect("a pipe")).lines();
        let port: u16 = lines
            .map_while(Result::ok)
            .find_map(|line| line.rsplit_once("port ")?.1.trim().parse().ok())
            .expect("a server");
        let is_there = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(is_there());
        holder.kill().expect("our own child");
        holder.wait().expect("our own child");
        let deadline = Instant::now() + PATIENCE;
        while is_there() {
            assert!(
                Instant::now() < deadline,
                "the server on port {port} outlives its process"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn standby_follows_its_primary() {
        let mut primary = match Postgres::start() {
            Ok(server) => server,
            Err(missing) => return eprintln!("skipped: {missing}"),
        };
        let standby = primary.standby(&[]);
        assert_ne!(standby.port(), primary.port());
        let deadline = Instant::now() + PATIENCE;
        while !standby.log().contains("started streaming WAL from primary") {
            assert!(Instant::now() < deadline, "{}", standby.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
