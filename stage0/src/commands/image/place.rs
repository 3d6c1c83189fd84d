//! Files and directories that appear where the user wants them whole, or not at all.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;
use stage1_skim::remove::remove_tree;

/// A directory to be made.
pub struct Target<'a> {
    /// Where.
    pub path: &'a Path,
    /// Whether in the place of one that is there.
    pub overwrite: bool,
    /// A directory that must stay as it is, with all that is in it and above it.
    pub forbidden: &'a Path,
}

/// Makes a file: `write` is given one without a name. Whoever is killed meanwhile leaves nothing,
/// where the file system has such files (open(2), `O_TMPFILE`); elsewhere one beside it.
///
/// # Errors
/// Where it exists and is not to be replaced, or `write` fails; then nothing was made.
pub fn file(path: &Path, overwrite: bool, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let place = Place::new(path)?;
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => bail!("{shown} is a directory"),
        Ok(_) if !overwrite => bail!("{shown} exists; give --overwrite to replace it"),
        Ok(_) | Err(_) => (),
    }
    let aside = place.aside();
    let (made, is_named) = match place.unnamed()? {
        Some(file) => (file, false),
        None => (create(&aside)?, true),
    };
    let written = write(&made).and_then(|()| {
        made.sync_all().context("cannot bring it to the disk")?;
        if !is_named {
            name(&made, &aside)?;
        }
        place.publish(&aside, overwrite)
    });
    if written.is_err() && fs::symlink_metadata(&aside).is_ok() {
        fs::remove_file(&aside).with_context(|| format!("cannot remove {}", aside.display()))?;
    }
    written
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o644);
    options
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Gives a file that has no name this one.
fn name(file: &File, path: &Path) -> Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Makes a directory: `fill` is given one beside it. Where only a `part` of that is wanted, a
/// directory in it, that takes its place.
///
/// # Errors
/// Where it exists and is not to be replaced, or `fill` fails; then nothing was made.
pub fn directory(
    target: &Target<'_>,
    part: Option<&str>,
    fill: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    let place = target.check()?;
    let aside = place.aside();
    DirBuilder::new()
        .mode(0o700)
        .create(&aside)
        .with_context(|| format!("cannot create {}", aside.display()))?;
    let filled = File::open(&aside)
        .context("cannot open a new directory")
        .and_then(|dir| fill(dir.as_fd()))
        .and_then(|()| {
            fs::set_permissions(&aside, PermissionsExt::from_mode(0o755))?;
            let source = part.map_or_else(|| aside.clone(), |part| aside.join(part));
            place.exchange(&source, target.overwrite)
        });
    // What is left: nothing, what failed, or what was replaced.
    let removed = place.remove_aside();
    filled.and(removed)
}

impl Target<'_> {
    /// Refuses what must not be replaced.
    fn check(&self) -> Result<Place> {
        let shown = self.path.display();
        let place = Place::new(self.path)?;
        let path = place.path();
        ensure!(
            !path.starts_with(self.forbidden) && !self.forbidden.starts_with(&path),
            "{shown} is, holds or is in skim's own directory {}; choose another one",
            self.forbidden.display()
        );
        let Ok(meta) = fs::symlink_metadata(&path) else {
            return Ok(place);
        };
        ensure!(
            meta.is_dir(),
            "{shown} exists and is no directory; choose another name"
        );
        ensure!(
            self.overwrite,
            "{shown} exists; give --overwrite to replace it and all that is in it"
        );
        let table = fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
        if let Some(mounted) = stage1_skim::mounts::beneath(&table, &path).first() {
            bail!(
                "cannot replace {shown}: something is mounted at {}; unmount it first",
                mounted.display()
            );
        }
        Ok(place)
    }
}

/// A name in a directory that is there.
struct Place {
    /// The directory's path, without symbolic links.
    parent: PathBuf,
    name: OsString,
}

impl Place {
    fn new(path: &Path) -> Result<Self> {
        let shown = path.display();
        ensure!(!path.as_os_str().is_empty(), "a path cannot be empty");
        let absolute = std::path::absolute(path)
            .with_context(|| format!("cannot make the path {shown} absolute"))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            bail!("{shown} is not a path where anything can be made; name one beneath it");
        };
        let parent = parent
            .canonicalize()
            .with_context(|| format!("cannot use the directory {}", parent.display()))?;
        Ok(Self {
            parent,
            name: name.to_owned(),
        })
    }

    /// A new file without a name, `None` where the file system has none such.
    fn unnamed(&self) -> Result<Option<File>> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(&self.parent, flags, Mode::from_raw_mode(0o644)) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot write to {}", self.parent.display()))
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }

    fn aside(&self) -> PathBuf {
        self.parent.join(self.aside_name())
    }

    fn aside_name(&self) -> String {
        format!(".skim-{}", std::process::id())
    }

    fn remove_aside(&self) -> Result<()> {
        let parent = File::open(&self.parent).context("cannot open the directory above it")?;
        remove_tree(parent.as_fd(), self.aside_name().as_ref())
    }

    /// Moves what was made to its place.
    fn publish(&self, source: &Path, overwrite: bool) -> Result<()> {
        let path = self.path();
        if overwrite {
            return fs::rename(source, &path)
                .with_context(|| format!("cannot put it at {}", path.display()));
        }
        match renameat_with(CWD, source, CWD, &path, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => bail!(
                "{} exists by now; give --overwrite to replace it",
                path.display()
            ),
            // A file system that cannot tell (NFS): it was not there a moment ago.
            Err(Errno::INVAL) => fs::rename(source, &path).map_err(anyhow::Error::new),
            moved => moved.map_err(anyhow::Error::new),
        }
        .with_context(|| format!("cannot put it at {}", path.display()))
    }

    /// Moves a directory to its place, and what is there to where it was.
    fn exchange(&self, source: &Path, overwrite: bool) -> Result<()> {
        let path = self.path();
        if !overwrite || fs::symlink_metadata(&path).is_err() {
            return self.publish(source, false);
        }
        renameat_with(CWD, source, CWD, &path, RenameFlags::EXCHANGE)
            .with_context(|| format!("cannot replace {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::image::testing::message;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(text: &'static str) -> impl FnOnce(&File) -> Result<()> {
        move |mut file| Ok(file.write_all(text.as_bytes())?)
    }

    fn fill(text: &'static str) -> impl FnOnce(BorrowedFd<'_>) -> Result<()> {
        move |dir| {
            rustix::fs::mkdirat(dir, "rootfs", rustix::fs::Mode::RWXU)?;
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
            let file = rustix::fs::openat(dir, "rootfs/f", flags, rustix::fs::Mode::RUSR)?;
            Ok(File::from(file).write_all(text.as_bytes())?)
        }
    }

    #[test]
    fn files_appear_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        file(&path, false, write("1")).unwrap();
        assert!(message(file(&path, false, write("2"))).contains("--overwrite"));
        assert!(message(file(&path, true, |_| bail!("broken"))).contains("broken"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        file(&path, true, write("3")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3");
        assert!(message(file(root.path(), true, write(""))).contains("is a directory"));
        assert!(message(file(&root.path().join("b/c"), true, write(""))).contains("b"));
        let other = root.path().join("b");
        file(&other, false, |_| {
            assert_eq!(
                names(root.path()),
                ["a"],
                "it has a name before it is whole"
            );
            Ok(())
        })
        .unwrap();
        assert_eq!(names(root.path()), ["a", "b"]);
    }

    #[test]
    fn directories_appear_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("d");
        let make = |overwrite, part, text| {
            let target = Target {
                path: &path,
                overwrite,
                forbidden: Path::new("/var/lib/skim"),
            };
            directory(&target, part, fill(text))
        };
        make(false, None, "1").unwrap();
        assert_eq!(fs::read_to_string(path.join("rootfs/f")).unwrap(), "1");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert!(message(make(false, None, "2")).contains("--overwrite"));
        make(true, Some("rootfs"), "3").unwrap();
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "3");
        assert_eq!(names(root.path()), ["d"]);
        let target = Target {
            path: &path,
            overwrite: true,
            forbidden: Path::new("/var/lib/skim"),
        };
        assert!(message(directory(&target, None, |_| bail!("broken"))).contains("broken"));
        assert_eq!(names(root.path()), ["d"]);
        assert_eq!(names(&path), ["f"]);
    }

    #[test]
    fn places_that_others_need_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        fs::create_dir_all(real.join("skim/images")).unwrap();
        std::os::unix::fs::symlink(real.join("skim"), real.join("link")).unwrap();
        fs::write(real.join("file"), "").unwrap();
        let refused = |path: &Path| {
            let target = Target {
                path,
                overwrite: true,
                forbidden: &real.join("skim"),
            };
            message(directory(&target, None, |_| panic!("it was used")))
        };
        for path in ["skim", "skim/images", "skim/new", "link/images", ""] {
            let text = refused(&real.join(path));
            assert!(text.contains("skim's own"), "{path}: {text}");
        }
        for path in ["/", "..", "/usr/.."] {
            assert!(
                refused(Path::new(path)).contains("where anything can be made"),
                "{path}"
            );
        }
        for path in ["file", "link"] {
            assert!(refused(&real.join(path)).contains("no directory"), "{path}");
        }
        assert!(refused(Path::new("/proc")).contains("mounted"));
    }
}
