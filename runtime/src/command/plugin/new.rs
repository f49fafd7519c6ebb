//! `highwater plugin new`: a crate to begin with.

use std::path::{Path, PathBuf};

use sdk::template::{self, SdkFrom};

use super::super::Cx;
use crate::cli::PluginNewArgs;
use crate::codes;
use crate::exit::{Ended, Exit, Failure};

pub(in crate::command) fn new(cx: &Cx, args: PluginNewArgs) -> Ended {
    let name = args.name.as_str();
    if let Some(why) = template::refuse_name(name) {
        let message = format!("cannot call a plugin `{name}`: {why}");
        return Err(Failure::input(codes::E0745.id, message)
            .hint("use lower-case letters, digits, `-` and `_`")
            .into());
    }
    let folder = args.dir.unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        let message = format!("cannot write `{}`: it exists", folder.display());
        return Err(Failure::input(codes::E0730.id, message)
            .hint("name another with `--dir`")
            .into());
    }
    let from = match (args.path, args.git) {
        (Some(checkout), _) => SdkFrom::Path(checkout_at(&checkout)?),
        (None, Some(url)) => SdkFrom::Git(url),
        (None, None) => SdkFrom::Version(crate::build::VERSION.to_owned()),
    };
    for (file, text) in template::files(name, args.kind, &from) {
        write(&folder.join(file), &text)?;
    }
    cx.terminal
        .step("Created", format!("{} ({})", folder.display(), args.kind.name()));
    if let SdkFrom::Version(version) = &from {
        cx.terminal.say(format!(
            "\n  `highwater-plugin-sdk` {version} is not on a registry yet: name a checkout with `--path`, or a repository with `--git`."
        ));
    }
    cx.terminal.say(format!(
        "\n  Look at src/connector.rs, then:\n    cd {}\n    cargo test",
        folder.display()
    ));
    Ok(Exit::Done)
}

/// A checkout that has the SDK, as a path that is good from anywhere.
fn checkout_at(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    if !path.join("plugins/sdk/Cargo.toml").is_file() {
        let message = format!("cannot build against `{shown}`: it has no `plugins/sdk`");
        return Err(Failure::input(codes::E0745.id, message).hint("name a checkout of Highwater"));
    }
    let whole = path
        .canonicalize()
        .map_err(|error| Failure::environment(codes::E0731.id, format!("cannot find `{shown}`")).caused_by(error))?;
    whole.into_os_string().into_string().map_err(|path| {
        let shown = path.to_string_lossy().into_owned();
        Failure::input(
            codes::E0745.id,
            format!("cannot write `{shown}` into a manifest: it is not UTF-8"),
        )
    })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::environment(codes::E0731.id, format!("cannot write `{}`", file.display())).caused_by(error)
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(file, text).map_err(failed)
}
