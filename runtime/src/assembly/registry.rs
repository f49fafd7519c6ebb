//! The connectors of this binary. A new connector is one line here.

use api::Registry;

/// All connectors.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.source::<sqlite::SqliteSourceConnector>();
    registry.destination::<sqlite::SqliteDestinationConnector>();
    postgres::register(&mut registry);
    files::register(&mut registry);
    transform::register(&mut registry);
    console::register(&mut registry);
    cloudquery::register(&mut registry);
    registry
}
