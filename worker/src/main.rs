//! The program `millrace`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Several dependencies bring a cipher library of their own; without a choice the first connection would panic.
    // An error only says that the choice was made before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    millrace::cli::main()
}
