//! Whether the stage1 that is there can start a pod's apps.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use stage1_skim::diagnosis::elf::Elf;
use stage1_skim::pod::PodPlan;
use stage1_skim::sandbox;

/// Refuses a stage1 that is a dynamic program where an app needs a static one.
///
/// # Errors
/// Where it is one, or is no program.
pub fn check(plan: &PodPlan, stage1: &Path) -> Result<()> {
    for app in &plan.apps {
        let Some(why) = sandbox::needs_static(app, plan.interactive) else {
            continue;
        };
        ensure!(
            is_static(stage1).with_context(|| format!("cannot read the stage1 {stage1:?}"))?,
            "app {}: {why} takes a static stage1-skim, and {} is a dynamic program: install the \
             static one (see packaging/install)",
            app.name,
            stage1.display()
        );
    }
    Ok(())
}

fn is_static(program: &Path) -> Result<bool> {
    let elf = Elf::read(&File::open(program)?)?;
    Ok(elf.interpreter.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_has_an_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("static");
        // The header of a 64-bit program without segments.
        let mut header = [0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        std::fs::write(&path, header).unwrap();
        assert!(is_static(&path).unwrap());
        assert!(!is_static(Path::new("/bin/sh")).unwrap());
        assert!(is_static(Path::new("/dev/null")).is_err());
    }
}
