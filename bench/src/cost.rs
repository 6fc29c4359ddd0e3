//! What a TB of source costs on Lambda, at the speed that was measured on this machine.

use crate::report::{Table, number};

/// US dollars a GB-second, first tier, us-east-1.
const ARM: f64 = 0.000_013_333_4;
const X86: f64 = 0.000_016_666_7;
/// MB of memory with which a function has one core.
const CORE: f64 = 1769.0;

/// The cost by memory size for a worker that moves so many MB a second of CPU, and so many a second when it has two processors
/// (the most that it makes use of).
pub(crate) fn table(per_cpu: f64, at_most: f64) -> Table {
    let mut table = Table::new(
        "cost",
        &["memory, MB", "cores", "MB/s a worker", "GB-s a TB", "USD a TB, arm64", "USD a TB, x86-64"],
    );
    for memory in [512.0, 1024.0, 1769.0, 3008.0, 3538.0, 5307.0, 10240.0] {
        let cores = memory / CORE;
        let rate = f64::min(per_cpu * cores, at_most);
        let gb_seconds = 1e6 / rate * memory / 1024.0;
        table.row(vec![
            format!("{memory}"),
            format!("{cores:.2}"),
            number(rate),
            number(gb_seconds),
            format!("{:.3}", gb_seconds * ARM),
            format!("{:.3}", gb_seconds * X86),
        ]);
    }
    table
}
