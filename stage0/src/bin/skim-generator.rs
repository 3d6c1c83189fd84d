//! The generator of systemd that makes units of pod files (systemd.generator(7)).
//!
//! It runs before anything else at boot, and at every daemon-reload: there is no bus, no /var,
//! and nobody to read an error but the kernel's log. Whatever goes wrong with one pod file, the
//! others and the boot go on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use skim::config::Directories;
use skim::generator;
use skim::generator::writing::Writer;
use skim::pod_file::SearchPath;
use stage1_skim::stdio;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(normal) = arguments.next() else {
        stdio::complain("usage: skim-generator NORMAL-DIR [EARLY-DIR LATE-DIR]");
        return ExitCode::FAILURE;
    };
    match generate(Path::new(&normal)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes the units of all pod files into `directory`.
fn generate(directory: &Path) -> Result<()> {
    let search = SearchPath::new(&Directories {
        system: "/usr/lib/skim".into(),
        administrator: None,
        local: "/etc/skim".into(),
    });
    Writer::new(directory, &skim()?, &complain).write_all(&search);
    Ok(())
}

fn skim() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell the path of skim-generator itself")?;
    let candidates = generator::candidates(&own);
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.with_context(|| format!("there is no skim beside {}", own.display()))
}

/// Tells what is wrong: into the kernel's log, as there may be no other yet.
fn complain(message: &str) {
    const ERROR: &str = "<3>";
    let line = format!("skim-generator[{}]: {message}", std::process::id());
    let kernel = fs::OpenOptions::new().write(true).open("/dev/kmsg");
    if kernel
        .and_then(|mut log| log.write_all(format!("{ERROR}{line}").as_bytes()))
        .is_err()
    {
        stdio::complain(&line);
    }
}
