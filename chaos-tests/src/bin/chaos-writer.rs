//! The application whose database is replicated: see `chaos_tests::writer`. Stops when its standard input is closed.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_chaos_tests::writer::Orders;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(orders) = Orders::from_arguments(&arguments) else {
        eprintln!("cannot read the orders: expected 9 arguments, got {}", arguments.len());
        return ExitCode::from(2);
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let leash = is_over.clone();
    // Ends with the process; the one who holds the other end is gone when this returns.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        leash.store(true, Ordering::Relaxed);
    });
    match orders.carry_out(|| is_over.load(Ordering::Relaxed)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
