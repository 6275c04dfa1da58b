//! `millrace-operator`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace_operator::program::main()
}
