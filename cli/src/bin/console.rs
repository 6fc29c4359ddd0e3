//! `console GROUP COMMAND`.

fn main() -> std::process::ExitCode {
    cli::console()
}
