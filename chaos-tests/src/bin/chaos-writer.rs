//! The application whose database is replicated: see `chaos_tests::writer`. Stops when its standard input is closed.

use std::process::ExitCode;

use highwater_chaos_tests::writer::{Orders, leash};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(orders) = Orders::from_arguments(&arguments) else {
        eprintln!("cannot read the orders: expected 9 arguments, got {}", arguments.len());
        return ExitCode::from(2);
    };
    match orders.carry_out(leash()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
