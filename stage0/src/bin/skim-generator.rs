//! The generator of systemd that makes units of pod files (systemd.generator(7)).
//!
//! It runs before anything else at boot, and at every daemon-reload: there is no bus, no /var,
//! and nobody to read an error but the kernel's log. Whatever goes wrong with one pod file, the
//! others and the boot go on.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skim::config::Directories;
use skim::generator::{self, Output};
use skim::pod_file::{Faults, PodFile, SearchPath, name};
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
    let mut written = HashSet::new();
    for (name, path) in search.names()? {
        // Its name is not that of a unit: nothing can stand for it.
        if let Err(error) = name::check(&name) {
            complain(&format!("{}: {error:#}", path.display()));
            continue;
        }
        let outputs = outputs(&search, &name);
        let done = outputs.and_then(|outputs| write(directory, &outputs, &mut written));
        if let Err(error) = done {
            complain(&format!("{}: {error:#}", path.display()));
        }
    }
    Ok(())
}

fn outputs(search: &SearchPath, name: &str) -> Result<Vec<Output>> {
    let skim = skim()?;
    let texts = match search.texts(name) {
        Ok(Some(texts)) => texts,
        Ok(None) => return Ok(Vec::new()),
        Err(faults) => return faulty(name, &[], &faults, &skim),
    };
    let made = match PodFile::parse(name, &texts) {
        Ok(file) => generator::outputs(&file, &skim)
            .map_err(|error| Faults::of_file(&file.path, format!("{error:#}"))),
        Err(faults) => Err(faults),
    };
    made.or_else(|faults| faulty(name, &texts, &faults, &skim))
}

fn faulty(
    name: &str,
    texts: &[skim::pod_file::Text],
    faults: &Faults,
    skim: &Path,
) -> Result<Vec<Output>> {
    for fault in faults.list() {
        complain(&fault.to_string());
    }
    generator::faulty(name, texts, faults, skim)
}

fn skim() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell the path of skim-generator itself")?;
    let candidates = generator::candidates(&own);
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.with_context(|| format!("there is no skim beside {}", own.display()))
}

/// Writes what a pod file gives, unless another one has given a unit of the same name.
fn write(directory: &Path, outputs: &[Output], written: &mut HashSet<String>) -> Result<()> {
    for output in outputs {
        let path = output.path();
        if !written.insert(path.to_string()) {
            bail!("{path} is made of another pod file already: rename one, or its app");
        }
        let target = directory.join(path);
        let made = match (output, target.parent()) {
            (Output::File(_, text), _) => fs::write(&target, text),
            (Output::Link(_, to), Some(parent)) => {
                fs::create_dir_all(parent).and_then(|()| symlink(to, &target))
            }
            (Output::Link(..), None) => Ok(()),
        };
        made.with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
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
