//! `highwater verify` against servers that are being written to: it says *equal* where everything is, and names exactly the
//! rows that were tampered with.

use std::io;

use highwater_chaos_tests::postgres::site::Site;
use highwater_chaos_tests::scale::Run;
use highwater_chaos_tests::site::PIPELINE;
use serde_json::{Value, json};

use crate::{RATE, small_site};

/// Rows of `txn_mark` are written once and never again, so nothing puts these right.
const PLANTED: &str = "
    DELETE FROM public.txn_mark WHERE txn = 3;
    UPDATE public.txn_mark SET rev = -5 WHERE txn = 4;
    ALTER TABLE public.txn_mark DROP CONSTRAINT txn_mark_pkey;
    INSERT INTO public.txn_mark SELECT * FROM public.txn_mark WHERE txn = 5;
    INSERT INTO public.txn_mark VALUES (1000000000000, 1)";

const PLANTED_IN_COPY: &str = "
    DELETE FROM public_txn_mark WHERE txn = 6;
    UPDATE public_txn_mark SET rev = -7 WHERE txn = 7;
    INSERT INTO public_txn_mark VALUES (1000000000000, 1)";

fn difference(txn: u64, kind: &str, columns: &[&str], copies: u64) -> Value {
    json!({ "key": [txn.to_string()], "kind": kind, "columns": columns, "copies": copies })
}

/// Runs `verify`, which must end with this code.
#[track_caller]
fn verify(site: &mut Site, exit: i32) -> io::Result<Vec<Value>> {
    let output = site.command(&["verify", PIPELINE, "-o", "json"], &[])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() != Some(exit) {
        site.fail(&format!("verify should end with {exit}: {:?}: {text}", output.status));
    }
    let envelope: Value = serde_json::from_str(&text)?;
    Ok(envelope["result"]["comparisons"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

#[test]
fn planted_differences_are_named_exactly_while_writers_run() -> io::Result<()> {
    let run = Run::begin("planted_differences_are_named_exactly_while_writers_run", 4);
    let Some(mut site) = small_site(run) else { return Ok(()) };
    site.write(60)?;
    let mut runtime = site.start()?;
    site.wait_until_shown(60, &mut runtime);
    site.start_writer(RATE)?;

    for _ in 0..2 {
        let comparisons = verify(&mut site, 0)?;
        // A table without a key is appended, and files are not read back.
        let equal = comparisons.iter().filter(|comparison| comparison["outcome"] == "equal");
        let equal: Vec<&Value> = equal.collect();
        if equal.len() != 12 {
            site.fail(&format!(
                "six tables at two destinations should be equal: {comparisons:#?}"
            ));
        }
        let is_empty = |comparison: &&&Value| comparison["source_rows"] == 0 && comparison["stream"] != "public.bulk";
        if let Some(empty) = equal.iter().find(is_empty) {
            site.fail(&format!("nothing was compared: {empty:#}"));
        }
        site.run.did();
    }
    site.tamper(PLANTED)?;
    site.tamper_copy(PLANTED_IN_COPY)?;
    for _ in 0..2 {
        let comparisons = verify(&mut site, 4)?;
        let different = comparisons
            .iter()
            .filter(|comparison| comparison["outcome"] == "different");
        let named: Vec<Value> = different
            .map(|of| json!([of["stream"], of["destination"], of["differences"]]))
            .collect();
        let expected = [
            json!([
                "public.txn_mark",
                "copy",
                [
                    difference(6, "missing", &[], 0),
                    difference(7, "different", &["rev"], 1),
                    difference(1_000_000_000_000, "extra", &[], 1),
                ]
            ]),
            json!([
                "public.txn_mark",
                "replica",
                [
                    difference(3, "missing", &[], 0),
                    difference(4, "different", &["rev"], 1),
                    difference(5, "doubled", &[], 2),
                    difference(1_000_000_000_000, "extra", &[], 1),
                ]
            ]),
        ];
        if named != expected {
            site.fail(&format!("expected {expected:#?}, found {named:#?}"));
        }
        site.run.did();
    }
    runtime.kill()?;
    site.abandon("");
    Ok(())
}
