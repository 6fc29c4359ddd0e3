//! `backfill COMMAND`.

fn main() -> std::process::ExitCode {
    cli::backfill()
}
