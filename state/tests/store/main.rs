//! The store against real files, real kills and real damage.

#![allow(clippy::unwrap_used, missing_docs)]

mod bounds;
mod child;
mod conformance;
mod damage;
mod disk;
mod export;
mod full_disk;
mod golden;
mod kill;
mod lock;
mod power_cut;
mod scene;
