//! Texts into a plan: parse, expand, read, check, and everything that was found on the way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::cloudquery::{self, Homes};
use crate::codes;
use crate::context::Context;
use crate::environment::Environment;
use crate::expand::{Rules, expand};
use crate::finding::{Finding, Severity};
use crate::locate::{Part, Places};
use crate::plan::Plan;
use crate::read::read;
use crate::secrets::Secrets;
use crate::sources::{Place, Sources, Span};
use crate::tree::{self, Node};

/// A text to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What findings call it: its path, as it was given.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Input {
    /// A text with its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// Reads configuration files; of a directory every `*.yaml`, `*.yml` and `*.json` in it, by name.
///
/// # Errors
/// A finding for each path that cannot be read.
pub fn read_inputs(paths: &[PathBuf]) -> Result<Vec<Input>, Vec<Finding>> {
    let mut inputs = Vec::new();
    let mut findings = Vec::new();
    for path in paths {
        match files_of(path) {
            Ok(files) if files.is_empty() => {
                let message = format!("no configuration in directory `{}`", path.display());
                findings.push(Finding::error(&codes::E0120, message).hint("files end in `.yaml`, `.yml` or `.json`"));
            }
            Ok(files) => {
                for file in files {
                    match read_text(&file) {
                        Ok(text) => inputs.push(Input {
                            name: file.display().to_string(),
                            text,
                        }),
                        Err(error) => findings.push(unreadable(&file, &error)),
                    }
                }
            }
            Err(error) => findings.push(unreadable(path, &error)),
        }
    }
    if findings.is_empty() { Ok(inputs) } else { Err(findings) }
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let is_ours = file
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e));
        if is_ours && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// At most a little more than the limit is read: what is larger is refused with its place, and not held in memory.
fn read_text(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(tree::SIZE_BYTES_MAX as u64 + 4)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let finding = Finding::error(
        &codes::E0120,
        format!("cannot read configuration `{}`: {error}", path.display()),
    );
    match error.kind() {
        io::ErrorKind::NotFound => finding
            .hint("name it with `--config`, or write one with `highwater init`; `highwater quickstart` needs none"),
        io::ErrorKind::InvalidData => finding.hint("it must be UTF-8 text"),
        _ => finding,
    }
}

/// A configuration that was read, with everything found in it.
pub struct Loaded {
    /// What it asks for; `None` if anything in it is wrong.
    pub plan: Option<Plan>,
    /// Its secrets, for scrubbing logs.
    pub secrets: Secrets,
    pub(crate) findings: Vec<Finding>,
    pub(crate) sources: Sources,
    pub(crate) masked: Vec<Span>,
    places: Places,
    homes: Homes,
    pub(crate) pipeline_count: usize,
    pub(crate) destination_count: usize,
}

/// The figures of the JSON envelope's `summary`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Texts read.
    pub files: usize,
    /// Findings that keep everything from running.
    pub errors: usize,
    /// Findings that somebody should look at.
    pub warnings: usize,
    /// How long it took.
    pub elapsed_seconds: f64,
}

/// Reads a configuration. All inputs are one: names are shared, and each may refer to what another defines.
pub fn load(inputs: &[Input], catalog: &Catalog, environment: &dyn Environment) -> Loaded {
    let mut sources = Sources::default();
    let files: Vec<u32> = inputs
        .iter()
        .map(|input| sources.add(input.name.clone(), &input.text))
        .collect();
    let mut places = Places::default();
    let mut cx = Context::new(&sources, catalog);
    let mut documents: Vec<Node> = Vec::new();
    let mut is_whole = true;
    for file in files {
        match tree::parse(file, &mut cx) {
            Some(parsed) => {
                let parsed: Vec<Node> = parsed.into_iter().filter(|document| !document.is_null()).collect();
                if parsed.is_empty() {
                    report_empty(file, &mut cx);
                }
                documents.extend(parsed);
            }
            None => is_whole = false,
        }
    }
    for document in &mut documents {
        let rules = match cloudquery::is_theirs(document) {
            true => Rules::CloudQuerys,
            false => Rules::Ours,
        };
        expand(document, "", rules, environment, &mut cx);
    }
    let mut homes = Homes::default();
    let errors = cx.error_count();
    // With a file missing, what the others lack may well be in it.
    let documents = if is_whole {
        cloudquery::translate(documents, &mut homes, &mut cx)
    } else {
        documents
    };
    let plan = if is_whole {
        // What a document that was refused may have held is missing nowhere.
        let is_complete = cx.error_count() == errors;
        read(&documents, is_complete, &mut places, &mut cx)
    } else {
        None
    };
    let (pipeline_count, destination_count) = count(&documents);
    let (findings, secrets, masked) = cx.into_parts();
    let is_valid = findings.iter().all(|finding| finding.severity != Severity::Error);
    let mut loaded = Loaded {
        plan: plan.filter(|_| is_valid),
        secrets,
        findings: Vec::new(),
        sources,
        masked,
        places,
        homes,
        pipeline_count,
        destination_count,
    };
    findings.into_iter().for_each(|finding| loaded.report(finding));
    loaded
}

fn report_empty(file: u32, cx: &mut Context) {
    let span = Span { file, start: 0, end: 0 };
    let message = format!("file `{}` is empty", cx.sources.file(file).name);
    let finding = Finding::error(&codes::E0119, message).at(cx.place(span), "expected `version: 1`");
    cx.report(finding.hint("`highwater init` writes an example"));
}

/// Pipelines and destinations as written, whatever is wrong with them.
fn count(documents: &[Node]) -> (usize, usize) {
    let pipelines = documents.iter().filter_map(|document| document.get("pipelines"));
    let pipelines: Vec<_> = pipelines.flat_map(|entry| entry.value.entries()).collect();
    let destinations = pipelines
        .iter()
        .filter_map(|pipeline| pipeline.value.get("destinations"));
    let destinations = destinations.map(|entry| match &entry.value.kind {
        tree::Kind::List(items) => items.len(),
        _ => entry.value.entries().len(),
    });
    (pipelines.len(), destinations.sum())
}

impl Loaded {
    /// Everything found, the worst first, then by place.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether anything must be changed before it can run.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Adds a finding of somebody who knows more: a connector, the runtime. Secrets in it are replaced by stars.
    pub fn report(&mut self, mut finding: Finding) {
        self.homes.bring_home(&mut finding);
        finding.scrub(|text| {
            if let std::borrow::Cow::Owned(scrubbed) = self.secrets.scrub(text) {
                *text = scrubbed;
            }
        });
        let key = |finding: &Finding| {
            let place = finding
                .primary()
                .map(|place| (self.sources.index_of(&place.file), place.line, place.column));
            (finding.severity, place.is_none(), place)
        };
        let at = self.findings.partition_point(|other| key(other) <= key(&finding));
        self.findings.insert(at, finding);
    }

    /// Adds a finding at a value of a part of the plan: `pointer` is a JSON pointer inside the part, such as
    /// `/spec/path` or `/streams/2`. What nobody wrote is shown at the nearest value that was written.
    pub fn report_at(&mut self, part: &Part, pointer: &str, label: &str, finding: Finding) {
        let finding = self.places.attach(finding, part, pointer, label, &self.sources);
        self.report(finding);
    }

    /// The place of a value of a part of the plan, and its JSON pointer in the document.
    pub fn locate(&self, part: &Part, pointer: &str) -> Option<(Place, String)> {
        self.places.locate(part, pointer, &self.sources)
    }

    /// Eight hexadecimal digits that change with any text: to see in a log which configuration runs.
    pub fn text_hash(&self) -> String {
        format!("{:08x}", self.sources.hash() >> 32)
    }

    /// The figures.
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let count = |severity| {
            self.findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        Summary {
            files: self.sources.file_count(),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            elapsed_seconds: (elapsed.as_secs_f64() * 1e3).round() / 1e3,
        }
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("plan", &self.plan)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}
