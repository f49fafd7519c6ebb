//! What every step of reading a configuration carries along.

use std::collections::HashSet;

use model::Code;

use crate::catalog::Catalog;
use crate::finding::{Finding, Severity};
use crate::secrets::Secrets;
use crate::sources::{Place, Sources, Span};

/// The texts and the connectors to read against, and what was found so far.
pub(crate) struct Context<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) catalog: &'a Catalog,
    pub(crate) secrets: Secrets,
    /// Literals that nobody should see on a screen, also if they are too short to be found by value.
    pub(crate) masked: Vec<Span>,
    findings: Vec<Finding>,
    /// A reusable definition is read once for each use, an alias once for each place; what is wrong in it is said once.
    seen: HashSet<(&'static str, String, Option<Place>)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(sources: &'a Sources, catalog: &'a Catalog) -> Self {
        Self {
            sources,
            catalog,
            secrets: Secrets::default(),
            masked: Vec::new(),
            findings: Vec::new(),
            seen: HashSet::new(),
        }
    }

    pub(crate) fn report(&mut self, finding: Finding) {
        if self
            .seen
            .insert((finding.code, finding.message.clone(), finding.primary().cloned()))
        {
            self.findings.push(finding);
        }
    }

    /// Whether anything with this code was reported.
    pub(crate) fn has_reported(&self, code: &Code) -> bool {
        self.findings.iter().any(|finding| finding.code == code.id)
    }

    /// Errors so far.
    pub(crate) fn error_count(&self) -> usize {
        let errors = self.findings.iter();
        errors.filter(|finding| finding.severity == Severity::Error).count()
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        self.sources.place(span)
    }

    /// Runs `attempt` and takes back what it reported, to choose between several readings.
    pub(crate) fn attempt<T>(&mut self, attempt: impl FnOnce(&mut Self) -> T) -> (T, Vec<Finding>) {
        let findings = std::mem::take(&mut self.findings);
        let seen = std::mem::take(&mut self.seen);
        let outcome = attempt(self);
        self.seen = seen;
        (outcome, std::mem::replace(&mut self.findings, findings))
    }

    pub(crate) fn into_parts(self) -> (Vec<Finding>, Secrets, Vec<Span>) {
        (self.findings, self.secrets, self.masked)
    }
}
