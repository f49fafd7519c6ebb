//! Where connectors hand themselves over: a name, a spec type, and how to build from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Capabilities, Destination, DestinationOptions, Source, SourceCapabilities, Transformer};

/// What a connector may look at while it is built. Building touches no system.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The directory that relative paths in the spec start from: that of the config file.
    pub base_dir: PathBuf,
}

impl BuildContext {
    /// A path of the spec, made absolute, without `.` in it.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base_dir.join(path).components().collect()
    }
}

/// Why a spec was refused: where in it, what, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct SpecError {
    /// JSON pointer inside the spec (`/columns/0`); empty for the whole.
    pub pointer: String,
    /// One clause.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
}

impl SpecError {
    /// Refuses the value at `pointer`.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        SpecError {
            pointer: pointer.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A connector that is read.
pub trait SourceConnector {
    /// The name in `connector:`.
    const NAME: &'static str;
    /// One sentence for `schema` and the docs.
    const ABOUT: &'static str;
    /// Its part of the config.
    type Spec: DeserializeOwned + JsonSchema;
    /// Checks what the JSON Schema cannot, and builds. Touches no system.
    fn build(spec: Self::Spec, cx: &BuildContext) -> Result<Box<dyn Source>, SpecError>;
    /// What a source with this spec can do, for validation.
    fn capabilities(spec: &Self::Spec) -> SourceCapabilities;
}

/// A connector that is written.
pub trait DestinationConnector {
    /// The name in `connector:`.
    const NAME: &'static str;
    /// One sentence for `schema` and the docs.
    const ABOUT: &'static str;
    /// Its part of the config.
    type Spec: DeserializeOwned + JsonSchema;
    /// Checks what the JSON Schema cannot, and builds. Touches no system.
    fn build(
        spec: Self::Spec,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError>;
    /// What a destination of this kind can do, whatever its spec.
    fn capabilities() -> Capabilities;
    /// How much it likes to gather before it commits.
    fn batch() -> BatchDefaults {
        BatchDefaults::default()
    }
}

/// A connector that transforms.
pub trait TransformerConnector {
    /// The name in `connector:`.
    const NAME: &'static str;
    /// One sentence for `schema` and the docs.
    const ABOUT: &'static str;
    /// Its part of the config.
    type Spec: DeserializeOwned + JsonSchema;
    /// Checks what the JSON Schema cannot, and builds.
    fn build(spec: Self::Spec, cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError>;
}

/// When a destination commits if the config does not say: what comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchDefaults {
    /// After this many bytes.
    pub bytes_max: u64,
    /// After this many rows.
    pub rows_max: u64,
    /// After this long.
    pub wait_max: Duration,
}

impl Default for BatchDefaults {
    fn default() -> Self {
        BatchDefaults {
            bytes_max: 8 << 20,
            rows_max: 65_536,
            wait_max: Duration::from_millis(20),
        }
    }
}

type Build<A, T> = Box<dyn Fn(Value, A, &BuildContext) -> Result<Box<T>, SpecError> + Send + Sync>;

/// A registered source connector.
pub struct SourceEntry {
    /// One sentence.
    pub about: &'static str,
    /// JSON Schema of the spec.
    pub spec_schema: Value,
    build: Build<(), dyn Source>,
    capabilities: Box<dyn Fn(Value) -> Result<SourceCapabilities, SpecError> + Send + Sync>,
}

/// A registered destination connector.
pub struct DestinationEntry {
    /// One sentence.
    pub about: &'static str,
    /// JSON Schema of the spec.
    pub spec_schema: Value,
    /// What it can do.
    pub capabilities: Capabilities,
    /// When it commits if the config does not say.
    pub batch: BatchDefaults,
    build: Build<DestinationOptions, dyn Destination>,
}

/// A registered transformer connector.
pub struct TransformerEntry {
    /// One sentence.
    pub about: &'static str,
    /// JSON Schema of the spec.
    pub spec_schema: Value,
    build: Build<(), dyn Transformer>,
}

/// The connectors of this binary, by role and name.
#[derive(Default)]
pub struct Registry {
    /// Sources.
    pub sources: BTreeMap<&'static str, SourceEntry>,
    /// Destinations.
    pub destinations: BTreeMap<&'static str, DestinationEntry>,
    /// Transformers.
    pub transformers: BTreeMap<&'static str, TransformerEntry>,
}

impl Registry {
    /// Adds a source connector.
    pub fn source<C: SourceConnector + 'static>(&mut self) -> &mut Self {
        let entry = SourceEntry {
            about: C::ABOUT,
            spec_schema: schema_of::<C::Spec>(),
            build: Box::new(|spec, (), cx| C::build(read::<C::Spec>(spec)?, cx)),
            capabilities: Box::new(|spec| Ok(C::capabilities(&read::<C::Spec>(spec)?))),
        };
        self.sources.insert(C::NAME, entry);
        self
    }

    /// Adds a destination connector.
    pub fn destination<C: DestinationConnector + 'static>(&mut self) -> &mut Self {
        let entry = DestinationEntry {
            about: C::ABOUT,
            spec_schema: schema_of::<C::Spec>(),
            capabilities: C::capabilities(),
            batch: C::batch(),
            build: Box::new(|spec, options, cx| C::build(read::<C::Spec>(spec)?, options, cx)),
        };
        self.destinations.insert(C::NAME, entry);
        self
    }

    /// Adds a transformer connector.
    pub fn transformer<C: TransformerConnector + 'static>(&mut self) -> &mut Self {
        let entry = TransformerEntry {
            about: C::ABOUT,
            spec_schema: schema_of::<C::Spec>(),
            build: Box::new(|spec, (), cx| C::build(read::<C::Spec>(spec)?, cx)),
        };
        self.transformers.insert(C::NAME, entry);
        self
    }
}

impl SourceEntry {
    /// Builds a source.
    pub fn build(&self, spec: Value, cx: &BuildContext) -> Result<Box<dyn Source>, SpecError> {
        (self.build)(spec, (), cx)
    }

    /// What a source with this spec can do.
    pub fn capabilities(&self, spec: Value) -> Result<SourceCapabilities, SpecError> {
        (self.capabilities)(spec)
    }
}

impl DestinationEntry {
    /// Builds a destination.
    pub fn build(
        &self,
        spec: Value,
        options: DestinationOptions,
        cx: &BuildContext,
    ) -> Result<Box<dyn Destination>, SpecError> {
        (self.build)(spec, options, cx)
    }
}

impl TransformerEntry {
    /// Builds a transformer.
    pub fn build(&self, spec: Value, cx: &BuildContext) -> Result<Box<dyn Transformer>, SpecError> {
        (self.build)(spec, (), cx)
    }
}

fn schema_of<S: JsonSchema>() -> Value {
    schemars::schema_for!(S).to_value()
}

/// The config was checked against the schema already, so what fails here is between schema and type.
fn read<S: DeserializeOwned>(spec: Value) -> Result<S, SpecError> {
    serde_json::from_value(spec).map_err(|error| SpecError::at("", format!("cannot read the spec: {error}")))
}
