//! What a plan has to look up in an image's tree, every path resolved as if the tree were `/`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// No file that is read out of an image for a plan is larger, in bytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// How many links a path may lead through, as the kernel's bound (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// An image's tree, opened.
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// Opens the tree at `path`.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open the image's tree {}", path.display()))?;
        Ok(Self { root })
    }

    /// The status of the file that `path` leads to within the tree, `None` where there is none.
    ///
    /// # Errors
    /// Where the tree cannot be read.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match self.resolve(path, OFlags::PATH)? {
            Some(file) => Ok(Some(rustix::fs::fstat(&file)?)),
            None => Ok(None),
        }
    }

    /// Owner and group of `path` itself, a symbolic link not followed.
    ///
    /// # Errors
    /// Where there is no such path.
    pub fn owner(&self, path: &Path) -> Result<(u32, u32)> {
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let parent = path.parent().unwrap_or(Path::new("/"));
        let missing = || format!("unable to stat {path:?} in the image");
        let parent = self.resolve(parent, OFlags::PATH)?.with_context(missing)?;
        let stat =
            rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).with_context(missing)?;
        Ok((stat.st_uid, stat.st_gid))
    }

    /// The text of a file, `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read, or is larger than any such file is.
    pub fn read(&self, path: &str) -> Result<Option<String>> {
        // Without O_NONBLOCK the open would wait for a writer where the image has a fifo.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let Some(file) = self.resolve(Path::new(path), flags)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        File::from(file)
            .take(FILE_MAX + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {path} in the image"))?;
        if bytes.len() as u64 > FILE_MAX {
            bail!("{path} in the image is larger than {FILE_MAX} bytes");
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The names in the directory that `path` leads to, in no order, `max` of them at most; none
    /// where there is no such directory.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn list(&self, path: &Path, max: usize) -> Result<Vec<OsString>> {
        let Some(directory) = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let context = || format!("cannot list {path:?} in the image");
        let mut names = Vec::new();
        for entry in Dir::new(directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == max {
                break;
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Whether `path` leads to a directory.
    ///
    /// # Errors
    /// Where the tree cannot be read.
    pub fn is_directory(&self, path: &Path) -> Result<bool> {
        let stat = self.stat(path)?;
        Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
    }

    /// Whether `path` leads to a file that can be executed.
    ///
    /// # Errors
    /// Where the tree cannot be read.
    pub fn is_executable(&self, path: &Path) -> Result<bool> {
        Ok(self.stat(path)?.is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_mode & 0o111 != 0
        }))
    }

    /// `path` without `.` and `..`. Where it holds a `..`, the links on the way to its last name
    /// are resolved first, as the kernel does.
    ///
    /// # Errors
    /// Where it leads nowhere.
    pub fn plain(&self, path: &Path) -> Result<PathBuf> {
        if path.components().any(|part| part == Component::ParentDir) {
            let missing = || format!("{path:?} is not in the image");
            // The last name stays: a program such as busybox goes by the one it is called by.
            let (directory, name) = match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => (parent, Some(name)),
                _ => (path, None),
            };
            let directory = self.resolve(directory, OFlags::PATH)?;
            let plain = self.name_of(&directory.with_context(missing)?)?;
            return Ok(name.map_or(plain.clone(), |name| plain.join(name)));
        }
        Ok(path.components().collect())
    }

    /// `path` with every link on the way followed, the last one, too, as far as the image has
    /// it. What lies in one of the paths of `covered` is not the image's: there the names stay.
    ///
    /// # Errors
    /// Where a file that is no directory stands in the way, or links have no end.
    pub fn resolve_links(&self, path: &Path, covered: &[&Path]) -> Result<PathBuf> {
        let mut left = names(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(&name);
            if covered.iter().any(|covered| at.starts_with(covered)) {
                continue;
            }
            let resolve = ResolveFlags::NO_SYMLINKS;
            let Some(file) = self.look_up(&at, OFlags::PATH | OFlags::NOFOLLOW, resolve)? else {
                continue;
            };
            match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
                FileType::Directory => (),
                FileType::Symlink => {
                    links += 1;
                    ensure!(
                        links <= LINKS_MAX,
                        "{at:?} in the image is one link too many"
                    );
                    let link = rustix::fs::readlinkat(&file, "", Vec::new())
                        .with_context(|| format!("cannot read the link {at:?} in the image"))?;
                    let link = Path::new(OsStr::from_bytes(link.to_bytes()));
                    match link.is_absolute() {
                        true => at = PathBuf::from("/"),
                        false => drop(at.pop()),
                    }
                    left.extend(names(link));
                }
                _ => ensure!(left.is_empty(), "{at:?} in the image is no directory"),
            }
        }
        Ok(at)
    }

    /// The path in the image of an open file beneath the tree.
    fn name_of(&self, file: &OwnedFd) -> Result<PathBuf> {
        let link = |file: &OwnedFd| {
            use std::os::fd::AsRawFd;
            std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        };
        let (root, path) = (link(&self.root)?, link(file)?);
        let inside = path.strip_prefix(&root).context("a path left the image")?;
        Ok(Path::new("/").join(inside))
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        self.look_up(path, flags, ResolveFlags::empty())
    }

    fn look_up(&self, path: &Path, flags: OFlags, how: ResolveFlags) -> Result<Option<OwnedFd>> {
        let resolve =
            how | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let path = if path.as_os_str().as_bytes().is_empty() {
            Path::new("/")
        } else {
            path
        };
        let flags = flags | OFlags::CLOEXEC;
        match rustix::fs::openat2(self.root.as_fd(), path, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot look up {path:?} in the image"))
            }
        }
    }
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_within_the_image_as_far_as_it_goes() {
        let lab = tempfile::tempdir().unwrap();
        let at = |path: &str| lab.path().join(path);
        fs::create_dir_all(at("srv/data")).unwrap();
        fs::write(at("file"), "").unwrap();
        for (target, link) in [
            ("srv/data", "data"),
            ("/srv/data", "absolute"),
            ("../../../etc/../srv", "climbs"),
            ("/not/there/../here", "dangling"),
            ("loop", "loop"),
            ("/", "root"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        symlink("../../data/x", at("srv/data/deep")).unwrap();
        let tree = Tree::open(lab.path()).unwrap();
        for (path, covered, expected) in [
            ("/srv/data", &[][..], Some("/srv/data")),
            ("/srv//./data/", &[], Some("/srv/data")),
            ("/data/new/x", &[], Some("/srv/data/new/x")),
            ("/absolute", &[], Some("/srv/data")),
            ("/climbs/data", &[], Some("/srv/data")),
            ("/dangling/x", &[], Some("/not/here/x")),
            ("/data/deep/y", &[], Some("/srv/data/x/y")),
            ("/data/deep", &["/srv/data"], Some("/srv/data/deep")),
            ("/data/deep", &["/srv/dat"], Some("/srv/data/x")),
            ("/root", &[], Some("/")),
            ("/file", &[], Some("/file")),
            ("/file/x", &[], None),
            ("/loop", &[], None),
        ] {
            let covered: Vec<_> = covered.iter().map(Path::new).collect();
            let resolved = tree.resolve_links(Path::new(path), &covered).ok();
            assert_eq!(resolved.as_deref(), expected.map(Path::new), "{path}");
        }
    }

    #[test]
    fn lists_directories_of_the_tree_up_to_a_bound() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir_all(root.path().join("sub").join(name)).unwrap();
        }
        fs::write(root.path().join("file"), "").unwrap();
        symlink("/sub", root.path().join("link")).unwrap();
        let tree = Tree::open(root.path()).unwrap();
        for (path, max, expected) in [
            ("/sub", 4, 3),
            ("/sub", 3, 3),
            ("/sub", 2, 2),
            ("/link", 9, 3),
            ("/../sub", 9, 3),
            ("/", 9, 3),
            ("/file", 9, 0),
            ("/missing", 9, 0),
        ] {
            assert_eq!(
                tree.list(Path::new(path), max).unwrap().len(),
                expected,
                "{path}"
            );
        }
    }
}
