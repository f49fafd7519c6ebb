//! The two destinations, through the suite and by what they print.

mod conformance;
mod printed;
mod tutorial;
