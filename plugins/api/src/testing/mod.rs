//! Decorators for tests: ordinary implementations that inject faults and slowness around a real one.
