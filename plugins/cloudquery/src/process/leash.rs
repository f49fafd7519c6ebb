//! The shell between us and a plugin.
//!
//! It puts a watcher into the plugin's process group and becomes the plugin itself, so that the process that we wait for
//! is the plugin and its exit status the plugin's. The watcher reads from our pipe. Whatever it reads, the end of the
//! pipe or a line, it ends the group and, with it, itself.
//!
//! As long as the watcher lives, no other process group can get the group's number.

/// Run by `sh -c SCRIPT NAME PROGRAM ARGUMENTS...`, as the leader of its process group.
///
/// The watcher is started from a subshell that ends at once: it is no child of the plugin, which may wait for its own.
/// `$$` is the leader in every subshell. The watcher holds neither of the plugin's outputs, or their end would never come.
pub(super) const SCRIPT: &str = r#"
exec 3<&0 </dev/null
(
    (
        trap '' INT TERM HUP QUIT
        read -r line <&3
        kill -s INT -- "-$$"
        waited=0
        while [ "$waited" -lt 5 ] && kill -s 0 -- "$$"; do
            sleep 1
            waited=$((waited + 1))
        done
        kill -s KILL -- "-$$"
    ) >/dev/null 2>&1 &
)
exec "$@" 3<&-
"#;
