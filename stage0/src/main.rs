//! The `skim` command.

use std::process::ExitCode;

use skim::{cli, commands};
use stage1_skim::{logging, names};

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    logging::install(arguments.global.debug);
    // Directories and files are made for everybody to pass through and read, or say otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    match commands::dispatch(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::from(names::EXIT_ERROR)
        }
    }
}
