//! The drill with plugins that others wrote: a source and a destination on CloudQuery's Python SDK, beside SQLite and files.
//!
//! Needs a Python with that SDK (`test_systems::python`); without one each test says so and passes. `HIGHWATER_CHAOS=full` for
//! the whole of it, else a tenth.

mod kills;
mod site;
