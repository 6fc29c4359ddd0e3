//! What a TB of source costs on Lambda, at the speed that was measured.

use crate::report::{Table, number};

/// US dollars a GB-second, first tier, us-east-1.
const ARM: f64 = 0.000_013_333_4;
const X86: f64 = 0.000_016_666_7;
/// MB of memory with which a function has one core.
const CORE: f64 = 1769.0;
/// A worker is one thread but for compression, which may use a second core.
const CORES: f64 = 2.0;

/// The cost by memory size for a worker that moves so many MB a second of CPU.
pub(crate) fn table(per_cpu: f64) -> Table {
    let mut table = Table::new(
        "cost",
        &["memory, MB", "cores", "MB/s a worker", "GB-s a TB", "USD a TB, arm64", "USD a TB, x86-64"],
    );
    for memory in [512.0, 1024.0, 1769.0, 3008.0, 3538.0] {
        let cores = f64::min(memory / CORE, CORES);
        let rate = per_cpu * cores;
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
