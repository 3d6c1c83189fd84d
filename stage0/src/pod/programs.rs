//! An app's program and working directory, looked up in its image.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::pod::ExecPlan;

use super::tree::Tree;
use crate::image::manifest::App;

/// Where a bare program name is looked for after the working directory, where the image sets no
/// `PATH`: rkt's two directories, then the rest of the default `PATH`.
const DEFAULT_SEARCH_PATH: [&str; 6] = [
    "/bin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/sbin",
];

/// Finds an app's programs in its image.
pub struct Programs<'a> {
    /// The image's tree.
    pub tree: &'a Tree,
    /// What stands before a path of the image where the app sees it: its rootfs, or `/`.
    pub root: &'a Path,
    /// What the image runs.
    pub manifest: &'a App,
    /// Whether a working directory that the image does not have is made when the pod is.
    pub makes_working_directory: bool,
    /// Where volumes are mounted, paths of the image. What is in them is not looked at: they
    /// are the host's, or not filled yet.
    pub mounted: &'a [PathBuf],
}

impl Programs<'_> {
    /// The command line `exec`, `arguments` appended to it.
    ///
    /// # Errors
    /// Where its program is not in the image, or cannot be executed.
    pub fn command(&self, exec: &[String], arguments: &[String]) -> Result<ExecPlan> {
        let (path, argv0) = self.program(&exec[0])?;
        let rest = exec[1..].iter().chain(arguments).cloned();
        Ok(ExecPlan {
            path,
            argv: [argv0].into_iter().chain(rest).collect(),
        })
    }

    /// The command line of the event handler `event`, where there is one.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub fn handler(&self, event: &str, exec: Option<&[String]>) -> Result<Option<ExecPlan>> {
        match exec {
            Some(exec) if !exec.is_empty() => {
                let plan = self.command(exec, &[]);
                plan.map(Some)
                    .with_context(|| format!("event handler {event}"))
            }
            _ => Ok(None),
        }
    }

    /// The file to execute, and `argv[0]`.
    ///
    /// An absolute name is as it is, one with a slash is relative to the working directory, a
    /// bare one is looked for in the image's `PATH`, or else in the working directory and
    /// [`DEFAULT_SEARCH_PATH`]. `argv[0]` stays as the image has it, except that an absolute one becomes the
    /// path on the host: programs such as python and postgres find their own files by it.
    fn program(&self, name: &str) -> Result<(PathBuf, String)> {
        let inside = self.find(name)?;
        let path = self.on_host(&inside);
        let argv0 = if name.starts_with('/') {
            let path = path.to_str().context("its path is not UTF-8")?;
            path.to_string()
        } else {
            name.to_string()
        };
        Ok((path, argv0))
    }

    fn find(&self, name: &str) -> Result<PathBuf> {
        if name.contains('/') {
            let path = self.image_working_directory().join(name);
            if let Some(path) = self.in_volume(&path)? {
                return Ok(path);
            }
            ensure!(
                self.tree.stat(&path)?.is_some(),
                "unable to open {name:?}: no such file in the image"
            );
            ensure!(
                self.tree.is_executable(&path)?,
                "cannot execute {name:?}: it is no executable file in the image"
            );
            return self.tree.plain(&path);
        }
        let directories = self.search_path();
        for directory in &directories {
            let path = directory.join(name);
            if self.tree.is_executable(&path)? {
                return self.tree.plain(&path);
            }
        }
        let searched: Vec<_> = directories
            .iter()
            .map(|directory| directory.display().to_string())
            .collect();
        bail!("unable to find {name:?} in {:?}", searched.join(":"))
    }

    fn search_path(&self) -> Vec<PathBuf> {
        let mut variables = self.manifest.environment.iter();
        match variables.find(|variable| variable.name == "PATH") {
            Some(variable) => {
                let directories = variable.value.split(':');
                let absolute = directories.filter(|directory| directory.starts_with('/'));
                absolute.map(PathBuf::from).collect()
            }
            None => [self.image_working_directory()]
                .into_iter()
                .chain(DEFAULT_SEARCH_PATH.map(PathBuf::from))
                .collect(),
        }
    }

    fn image_working_directory(&self) -> PathBuf {
        let directory = self.manifest.working_directory.as_deref();
        PathBuf::from(directory.filter(|path| !path.is_empty()).unwrap_or("/"))
    }

    /// Where in a volume `path` leads to, by the image's links: `None` where it leads to none.
    fn in_volume(&self, path: &Path) -> Result<Option<PathBuf>> {
        if self.mounted.is_empty() {
            return Ok(None);
        }
        let covered: Vec<_> = self.mounted.iter().map(PathBuf::as_path).collect();
        let resolved = self.tree.resolve_links(path, &covered)?;
        let is_mounted = covered.iter().any(|target| resolved.starts_with(target));
        Ok(is_mounted.then_some(resolved))
    }

    /// The app's working directory, as it sees it.
    ///
    /// # Errors
    /// Where the image does not have it.
    pub fn working_directory(&self) -> Result<PathBuf> {
        let directory = self.image_working_directory();
        let climbs = directory
            .components()
            .any(|part| part == Component::ParentDir);
        if let Some(path) = self.in_volume(&directory)? {
            return Ok(self.on_host(&path));
        }
        if self.makes_working_directory && !climbs && self.tree.stat(&directory)?.is_none() {
            // Without links, so that it shows in which volume it is made.
            return Ok(self.on_host(&self.tree.resolve_links(&directory, &[])?));
        }
        ensure!(
            self.tree.is_directory(&directory)?,
            "the working directory {directory:?} is no directory in the image"
        );
        Ok(self.on_host(&self.tree.plain(&directory)?))
    }

    fn on_host(&self, inside: &Path) -> PathBuf {
        beneath(self.root, inside)
    }
}

/// The path `inside` of an image as seen by an app for which the image is at `root`.
pub fn beneath(root: &Path, inside: &Path) -> PathBuf {
    let relative = inside.strip_prefix("/").unwrap_or(inside);
    if relative.as_os_str().is_empty() {
        return root.to_path_buf();
    }
    root.join(relative)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_links_lead_to_in_a_volume_is_the_volume_s() {
        let image = tempfile::tempdir().unwrap();
        fs::create_dir_all(image.path().join("bin")).unwrap();
        symlink("data/app", image.path().join("app")).unwrap();
        symlink("/data/x", image.path().join("bin/x")).unwrap();
        let tree = Tree::open(image.path()).unwrap();
        let manifest = App {
            working_directory: Some("/app/sub".to_owned()),
            ..App::default()
        };
        let programs = |mounted| Programs {
            tree: &tree,
            root: Path::new("/r"),
            manifest: &manifest,
            makes_working_directory: true,
            mounted,
        };
        let mounted = [PathBuf::from("/data")];
        let with = programs(&mounted);
        assert_eq!(
            with.working_directory().unwrap(),
            Path::new("/r/data/app/sub")
        );
        let command = with.command(&["/bin/x".to_owned()], &[]).unwrap();
        assert_eq!(command.path, Path::new("/r/data/x"));
        let without = programs(&[]);
        assert_eq!(
            without.working_directory().unwrap(),
            Path::new("/r/data/app/sub")
        );
        assert!(without.command(&["/bin/x".to_owned()], &[]).is_err());
    }
}
