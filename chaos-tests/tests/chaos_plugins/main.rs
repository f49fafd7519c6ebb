//! The drill with plugins that others wrote: sources on CloudQuery's Python SDK and with the manners of its Go SDK, a destination on
//! the Python SDK, and one of ours, served; beside SQLite, PostgreSQL and files.
//!
//! Needs what `test_systems::python` and `test_systems::go` say; without it a test says so and passes. `HIGHWATER_CHAOS=full` for
//! the whole of it, else a tenth.

mod checkpoints;
mod kills;
mod site;
