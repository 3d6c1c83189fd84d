//! What of the host may be a volume.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// The directory of skim that the pod's `directory` (`pods/run/UUID`) is in.
pub fn skim_directory(directory: &Path) -> Option<&Path> {
    directory.ancestors().nth(3)
}

/// Checks that `source` is there, and that it has nothing to do with `skim_directory`: an app
/// that writes to pods or images would break them, and pods mounted into themselves have no end.
///
/// # Errors
/// Where it is missing, or lies within that directory, or holds it and is bound with all that is
/// mounted beneath it.
pub fn check(source: &Path, recursive: bool, skim_directory: Option<&Path>) -> Result<()> {
    let own = match std::fs::metadata(source) {
        Ok(metadata) => id(&metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("source {source:?} does not exist")
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at source {source:?}"));
        }
    };
    let Some(directory) = skim_directory.filter(|directory| directory.exists()) else {
        return Ok(());
    };
    // By what the directories are, not by their names: a bind mount has another one.
    let skims = id(&std::fs::metadata(directory)
        .with_context(|| format!("cannot look at {}", directory.display()))?);
    ensure!(
        !is_above(skims, source)?,
        "source {source:?} lies in skim's own directory {}",
        directory.display()
    );
    ensure!(
        !recursive || !is_above(own, directory)?,
        "source {source:?} holds skim's own directory {}, and the pods mounted there would be \
         mounted in themselves: add recursive=false",
        directory.display()
    );
    Ok(())
}

/// Whether `path` is the file `wanted`, or lies beneath it.
fn is_above(wanted: (u64, u64), path: &Path) -> Result<bool> {
    let cannot = |path: &Path| format!("cannot look up {path:?}");
    let real = path.canonicalize().with_context(|| cannot(path))?;
    for path in real.ancestors() {
        let metadata = std::fs::metadata(path).with_context(|| cannot(path))?;
        if id(&metadata) == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

fn id(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn skim_s_own_directory_is_no_volume() {
        let lab = tempfile::tempdir().unwrap();
        let at = |path: &str| lab.path().join(path);
        fs::create_dir_all(at("above/skim/pods")).unwrap();
        fs::create_dir_all(at("beside/skim")).unwrap();
        fs::write(at("above/file"), "").unwrap();
        symlink("above/skim/pods", at("link")).unwrap();
        symlink("above", at("way")).unwrap();
        for (source, recursive, says) in [
            ("beside", true, None),
            ("beside/skim", true, None),
            ("above/file", true, None),
            ("above", false, None),
            ("way", false, None),
            ("nothing", true, Some("does not exist")),
            ("above/file/x", true, Some("cannot look at")),
            ("above", true, Some("add recursive=false")),
            ("way", true, Some("add recursive=false")),
            ("above/skim", false, Some("lies in skim's own directory")),
            ("way/skim/pods", false, Some("lies in skim's own directory")),
            ("link", true, Some("lies in skim's own directory")),
        ] {
            for skim in [at("above/skim"), at("way/skim")] {
                let outcome = check(&at(source), recursive, Some(&skim));
                match (outcome, says) {
                    (Ok(()), None) => (),
                    (Err(error), Some(says)) => {
                        let error = format!("{error:#}");
                        assert!(error.contains(says), "{source}: {error}");
                    }
                    (outcome, _) => panic!("{source}: {outcome:?}"),
                }
            }
        }
        // Before skim has a directory, nothing can lie in it.
        check(&at("above"), true, Some(&at("none"))).unwrap();
        assert_eq!(
            skim_directory(Path::new("/s/pods/run/U")),
            Some(Path::new("/s"))
        );
    }
}
