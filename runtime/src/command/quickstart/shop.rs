//! The demo's database, and the script that keeps changing it.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::codes;
use crate::exit::Failure;

const CUSTOMERS: u32 = 2_000;
const ORDERS: u32 = 4_000;
const LINES: u32 = 6_000;
/// Small transactions, as a shop has them, and a progress line that moves.
const TRANSACTIONS_PER_SECOND: u32 = 10;

const SCHEMA: &str = "\
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, joined_at TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, status TEXT NOT NULL, total REAL NOT NULL, placed_at TEXT NOT NULL);
CREATE TABLE order_lines (order_id INTEGER NOT NULL, line INTEGER NOT NULL, product TEXT NOT NULL, quantity INTEGER NOT NULL, price REAL NOT NULL, PRIMARY KEY (order_id, line));
";

const CITIES: [&str; 8] = [
    "Ankara", "Berlin", "Cairo", "Delhi", "Essen", "Fukuoka", "Genoa", "Hanoi",
];
const PRODUCTS: [&str; 6] = ["anvil", "bucket", "candle", "drum", "easel", "funnel"];
const STATES: [&str; 4] = ["paid", "packed", "shipped", "delivered"];
const NAMES: [&str; 8] = [
    "Ada", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy",
];

/// The database.
#[derive(Clone)]
pub(super) struct Shop {
    path: PathBuf,
}

impl Shop {
    pub(super) fn at(path: PathBuf) -> Self {
        Shop { path }
    }

    /// Makes it, and fills it. How many rows it has then.
    pub(super) fn create(&self) -> Result<u64, Failure> {
        self.with("create", |connection| {
            let tx = connection.transaction()?;
            tx.execute_batch(SCHEMA)?;
            let mut rng = rand::rng();
            for id in 1..=CUSTOMERS {
                add_customer(&tx, id.into(), &mut rng)?;
            }
            for id in 1..=ORDERS {
                // Every other order has two lines.
                let lines = 1 + id % 2;
                add_order(&tx, id.into(), lines, CUSTOMERS.into(), &mut rng)?;
            }
            tx.commit()?;
            Ok(u64::from(CUSTOMERS + ORDERS + LINES))
        })
    }

    /// Rows of all tables.
    pub(super) fn row_count(&self) -> Result<u64, Failure> {
        const COUNT: &str = "SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM orders) + \
                             (SELECT count(*) FROM order_lines)";
        self.with("read", |connection| {
            connection
                .query_row(COUNT, [], |row| row.get::<_, i64>(0))
                .map(|rows| rows as u64)
        })
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection)
    }

    fn with<T>(&self, verb: &str, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, Failure> {
        self.open()
            .and_then(|mut connection| work(&mut connection))
            .map_err(|error| self.cannot(verb, &error))
    }

    fn cannot(&self, verb: &str, error: &rusqlite::Error) -> Failure {
        Failure::environment(
            codes::E0731.id,
            format!("cannot {verb} demo database `{}`", self.path.display()),
        )
        .caused_by(error)
        .hint("name another directory with `--dir`")
    }
}

/// The script, in a thread of its own. It ends with `stop`.
pub(super) struct Writer {
    stop: Sender<()>,
    thread: JoinHandle<rusqlite::Result<()>>,
    shop: Shop,
}

impl Writer {
    pub(super) fn start(shop: Shop, rows_per_second: u32) -> Result<Writer, Failure> {
        let (stop, stopped) = channel();
        let of_thread = shop.clone();
        let work = move || {
            let mut connection = of_thread.open()?;
            let interval = Duration::from_secs(1) / TRANSACTIONS_PER_SECOND;
            let (begin, mut ticks, mut written) = (Instant::now(), 0_u32, 0_u64);
            loop {
                ticks += 1;
                let next = begin + interval * ticks;
                let wait = next.saturating_duration_since(Instant::now());
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
                // As many as are due, so that the rate holds whatever one transaction takes.
                let due = u64::from(rows_per_second) * u64::from(ticks) / u64::from(TRANSACTIONS_PER_SECOND);
                if due > written {
                    change(&mut connection, due - written)?;
                    written = due;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("quickstart-writer".to_owned())
            .spawn(work)
            .map_err(|error| {
                Failure::environment(codes::E0731.id, "cannot start the thread of the demo script").caused_by(error)
            })?;
        Ok(Writer { stop, thread, shop })
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        // A thread that is gone has its reason in its result.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(ended) => ended.map_err(|error| self.shop.cannot("write to", &error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Changes so many rows in one transaction: half of them new, the others updated, a few deleted.
fn change(connection: &mut Connection, rows: u64) -> rusqlite::Result<()> {
    let mut rng = rand::rng();
    // The runtime prunes its change table meanwhile: a lock taken at first is waited for, one taken later is refused.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest = |table: &str| {
        tx.query_row(&format!("SELECT coalesce(max(id), 0) FROM {table}"), [], |row| {
            row.get(0)
        })
    };
    let (mut customers, mut orders): (i64, i64) = (newest("customers")?, newest("orders")?);
    let mut left = rows;
    while left > 0 {
        left -= match rng.random_range(0..20) {
            0 => {
                customers += 1;
                add_customer(&tx, customers, &mut rng)?;
                1
            }
            1..=5 if left > 1 => {
                orders += 1;
                add_order(&tx, orders, 1, customers, &mut rng)?;
                2
            }
            6 => {
                let order = rng.random_range(1..=orders.max(1));
                tx.prepare_cached("DELETE FROM order_lines WHERE order_id = ?1 AND line > 1")?
                    .execute([order])?;
                1
            }
            7..=9 => {
                let customer = rng.random_range(1..=customers.max(1));
                let city = CITIES[rng.random_range(0..CITIES.len())];
                tx.prepare_cached("UPDATE customers SET city = ?2 WHERE id = ?1")?
                    .execute(params![customer, city])?;
                1
            }
            _ => {
                let order = rng.random_range(1..=orders.max(1));
                let state = STATES[rng.random_range(0..STATES.len())];
                tx.prepare_cached("UPDATE orders SET status = ?2 WHERE id = ?1")?
                    .execute(params![order, state])?;
                1
            }
        };
    }
    tx.commit()
}

fn add_customer(tx: &Transaction<'_>, id: i64, rng: &mut impl Rng) -> rusqlite::Result<()> {
    let name = format!("{} {id}", NAMES[rng.random_range(0..NAMES.len())]);
    let city = CITIES[rng.random_range(0..CITIES.len())];
    tx.prepare_cached("INSERT INTO customers VALUES (?1, ?2, ?3, datetime('now'))")?
        .execute(params![id, name, city])?;
    Ok(())
}

fn add_order(tx: &Transaction<'_>, id: i64, lines: u32, customers: i64, rng: &mut impl Rng) -> rusqlite::Result<()> {
    let (customer, total) = (
        rng.random_range(1..=customers.max(1)),
        f64::from(rng.random_range(100..50_000)) / 100.0,
    );
    tx.prepare_cached("INSERT INTO orders VALUES (?1, ?2, 'placed', ?3, datetime('now'))")?
        .execute(params![id, customer, total])?;
    for line in 1..=lines {
        let product = PRODUCTS[rng.random_range(0..PRODUCTS.len())];
        let (quantity, price) = (rng.random_range(1..5), f64::from(rng.random_range(100..10_000)) / 100.0);
        tx.prepare_cached("INSERT INTO order_lines VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, line, product, quantity, price])?;
    }
    Ok(())
}
