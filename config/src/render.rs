//! Findings as text for a terminal, in the manner of rustc. Colour adds nothing that is not in the text.

use std::ops::Range;
use std::time::Duration;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::finding::{Finding, LabelledPlace, Severity};
use crate::load::Loaded;
use crate::sources::Source;

/// More than anybody reads at once; a broken generator makes a hundred thousand.
const SHOWN_MAX: usize = 50;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// With escape codes.
    pub is_coloured: bool,
    /// Columns.
    pub width: usize,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            is_coloured: false,
            width: 140,
        }
    }
}

impl Loaded {
    /// All findings with their snippets, a blank line between them; empty if there are none.
    pub fn render_findings(&self, screen: &Screen) -> String {
        let shown = self.findings.iter().take(SHOWN_MAX);
        let mut text = shown
            .map(|finding| self.render_finding(finding, screen))
            .collect::<Vec<_>>()
            .join("\n");
        if self.findings.len() > SHOWN_MAX {
            text.push_str(&format!("\n... and {} more\n", self.findings.len() - SHOWN_MAX));
        }
        text
    }

    /// One finding.
    pub fn render_finding(&self, finding: &Finding, screen: &Screen) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let excerpts: Vec<Excerpt<'_>> = self.excerpts(finding);
        let mut group = Group::with_title(level.primary_title(&finding.message).id(finding.code));
        for excerpt in &excerpts {
            group = group.element(excerpt.snippet());
        }
        for hint in &finding.hints {
            let hint = annotate_snippets::normalize_untrusted_str(hint);
            group = group.element(Level::HELP.with_name("hint").message(hint));
        }
        let renderer = if screen.is_coloured {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = renderer.term_width(screen.width).render(&[group]);
        text.push('\n');
        text
    }

    /// The last lines of a screen: what was checked, and where to read on.
    pub fn render_summary(&self, elapsed: Duration) -> String {
        let summary = self.summary(elapsed);
        let mut verdict = Vec::new();
        if summary.errors > 0 {
            verdict.push(counted(summary.errors, "error"));
        }
        if summary.warnings > 0 {
            verdict.push(counted(summary.warnings, "warning"));
        }
        if verdict.is_empty() {
            verdict.push("no errors".to_owned());
        }
        let mut text = format!(
            "Checked {}, {}, {} in {}: {}\n",
            counted(summary.files, "file"),
            counted(self.pipeline_count, "pipeline"),
            counted(self.destination_count, "destination"),
            render_elapsed(elapsed),
            verdict.join(", ")
        );
        if let Some(worst) = self
            .findings
            .first()
            .filter(|finding| finding.severity != Severity::Note)
        {
            let what = if worst.severity == Severity::Error {
                "an error"
            } else {
                "a warning"
            };
            text.push_str(&format!(
                "For more about {what}, run `highwater explain {}`\n",
                worst.code
            ));
        }
        text
    }

    /// The lines that a finding shows, file by file, the primary one first.
    fn excerpts<'f>(&'f self, finding: &'f Finding) -> Vec<Excerpt<'f>> {
        let mut excerpts: Vec<Excerpt<'f>> = Vec::new();
        for labelled in &finding.places {
            let Some(file) = self.sources.by_name(&labelled.place.file) else {
                continue;
            };
            match excerpts.iter_mut().find(|excerpt| excerpt.file.name == file.name) {
                Some(excerpt) => excerpt.places.push(labelled),
                None => excerpts.push(Excerpt {
                    file,
                    places: vec![labelled],
                    text: String::new(),
                    first_line: 1,
                }),
            }
        }
        for excerpt in &mut excerpts {
            let lines = || excerpt.places.iter().map(|labelled| labelled.place.line);
            let (first, last) = (lines().min().unwrap_or(1), lines().max().unwrap_or(1));
            excerpt.first_line = first;
            excerpt.text = self.masked_lines(excerpt.file, first, last);
        }
        excerpts
    }

    /// Lines of a file with a star for each character of a secret, so that columns stay where they are.
    fn masked_lines(&self, file: &Source, first: usize, last: usize) -> String {
        let (start, _) = file.line_range(first);
        let (_, end) = file.line_range(last);
        let text = &file.text[start..end];
        let mut hidden: Vec<(usize, usize)> = self.secrets.find_in(text);
        let spans = self
            .masked
            .iter()
            .filter(|span| self.sources.file(span.file).name == file.name);
        hidden.extend(spans.filter_map(|span| {
            let (from, to) = ((span.start as usize).max(start), (span.end as usize).min(end));
            (from < to).then(|| (from - start, to - start))
        }));
        if hidden.is_empty() {
            return text.to_owned();
        }
        let is_hidden = |at: usize| hidden.iter().any(|(from, to)| (*from..*to).contains(&at));
        text.char_indices()
            .map(|(at, c)| if is_hidden(at) && !c.is_whitespace() { '*' } else { c })
            .collect()
    }
}

/// The part of one file that a finding shows.
struct Excerpt<'f> {
    file: &'f Source,
    places: Vec<&'f LabelledPlace>,
    text: String,
    first_line: usize,
}

impl Excerpt<'_> {
    fn snippet(&self) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let annotations = self.places.iter().map(|labelled| {
            let kind = if labelled.primary {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let annotation = kind.span(self.range(labelled));
            if labelled.label.is_empty() {
                annotation
            } else {
                annotation.label(labelled.label.as_str())
            }
        });
        Snippet::source(&self.text)
            .line_start(self.first_line)
            .path(self.file.name.as_str())
            .annotations(annotations)
    }

    /// The bytes of a place in the excerpt.
    fn range(&self, labelled: &LabelledPlace) -> Range<usize> {
        let place = &labelled.place;
        let line_start = self
            .text
            .split_inclusive('\n')
            .take(place.line - self.first_line)
            .map(str::len)
            .sum::<usize>();
        let line = &self.text[line_start..];
        let byte = |column: usize| line.char_indices().nth(column - 1).map_or(line.len(), |(at, _)| at);
        let start = byte(place.column);
        let end = byte(place.end_column).max(start);
        line_start + start..line_start + end
    }
}

/// `1 file`, `3 destinations`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn render_elapsed(elapsed: Duration) -> String {
    match elapsed.as_millis() {
        ms @ ..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", elapsed.as_secs_f64()),
    }
}
