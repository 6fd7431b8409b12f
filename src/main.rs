//! The `deltavault` binary: the command line around the library.

#![allow(
    dead_code,
    clippy::unused_async,
    reason = "rows and requests that no command fills or reads yet"
)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
