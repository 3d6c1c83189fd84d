//! The directories of the configuration, and how files in them are read and written.
//!
//! Two directories of the same layout hold it: the vendor's (`--system-config`,
//! `/usr/lib/skim`) and the administrator's (`--local-config`, `/etc/skim`). As with systemd's
//! own (systemd.unit(5), "Unit File Load Path"), a file of the administrator's takes the place
//! of the vendor's of the same name; an empty one, or a symbolic link to /dev/null, takes it
//! away. With `skim --user`, those of the user's own (`$XDG_CONFIG_HOME/skim`) do the same to both.
//! Symbolic links are followed: they are root's, as whatever else stands there.
//!
//! What stands there decides what runs as root. Therefore nothing is read that anybody else may
//! write to.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Most names that are read of one directory.
const MAX_NAMES: usize = 10_000;

/// The directories, as absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// The vendor's.
    pub system: PathBuf,
    /// The administrator's, where `local` is a user's.
    pub administrator: Option<PathBuf>,
    /// The administrator's, or the user's: what is written goes there.
    pub local: PathBuf,
}

impl Directories {
    /// All of them, the one before others that take precedence first.
    pub fn lowest_first(&self) -> impl Iterator<Item = &PathBuf> {
        let above = self.administrator.iter().chain([&self.local]);
        [&self.system].into_iter().chain(above)
    }
}

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing.
    Missing,
    /// A file without content, or /dev/null: it masks one of the vendor's.
    Mask,
    /// A file's content.
    File(Vec<u8>),
    /// The names in a directory, in order; those that start with a dot are left out.
    Directory(Vec<OsString>),
}

/// Reads what stands at `path`; of a file at most `limit` bytes.
///
/// # Errors
/// Where it cannot be read, is too large, is neither file nor directory, or may be written to
/// by others than root. A symbolic link to nothing is an error, too: a rule that somebody
/// meant to be there must not be missed.
pub fn read(path: &Path, limit: u64) -> Result<Node> {
    read_node(path, limit).with_context(|| format!("cannot use {}", path.display()))
}

fn read_node(path: &Path, limit: u64) -> Result<Node> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) if path.is_symlink() => bail!("it is a symbolic link to nothing"),
        Err(Errno::NOENT) => return Ok(Node::Missing),
        fd => fd?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    if is_dev_null(&stat) {
        return Ok(Node::Mask);
    }
    check_owner(&stat)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => names(fd.as_fd()).map(Node::Directory),
        FileType::RegularFile => {
            let mut content = Vec::new();
            File::from(fd).take(limit + 1).read_to_end(&mut content)?;
            ensure!(
                content.len() as u64 <= limit,
                "it has more than {limit} bytes"
            );
            Ok(if content.is_empty() {
                Node::Mask
            } else {
                Node::File(content)
            })
        }
        _ => bail!("it is neither a file nor a directory"),
    }
}

/// Whoever may write here decides what runs as root.
fn check_owner(stat: &Stat) -> Result<()> {
    let trusted = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    ensure!(
        trusted && stat.st_mode & 0o022 == 0,
        "it may be written to by others: its owner must be root or who runs skim, and only the owner may write (chown, chmod go-w)"
    );
    Ok(())
}

fn is_dev_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3)
}

fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !name.starts_with(b".") {
            names.push(OsStr::from_bytes(name).to_owned());
            ensure!(
                names.len() <= MAX_NAMES,
                "it holds more than {MAX_NAMES} files"
            );
        }
    }
    names.sort();
    Ok(names)
}

/// Writes the file `name` into the directory `dir`, whole or not at all: aside, then renamed.
/// It has mode 0644; directories that are missing are made with mode 0755.
///
/// # Errors
/// Where it cannot be written.
pub fn write(dir: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = dir.join(name);
    make_directories(dir)
        .and_then(|()| replace(dir, name, content))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn make_directories(dir: &Path) -> Result<()> {
    let missing: Vec<_> = dir.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(path) {
            // mkdir(2) would subtract the umask.
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    // A name that is not read: see `names`.
    let aside = dir.join(format!(".{name}.{}", std::process::id()));
    let write = || -> Result<()> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .mode(0o600)
            .open(&aside)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&aside, dir.join(name))?;
        File::open(dir)?.sync_all()?;
        Ok(())
    };
    write().inspect_err(|_| {
        // What failed is told; the file aside is gone already, or is in nobody's way.
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        assert_eq!(read(&dir.join("x"), 9).unwrap(), Node::Missing);
        let path = write(&dir, "x", b"first").unwrap();
        write(&dir, "x", b"second").unwrap();
        write(&dir, "empty", b"").unwrap();
        assert_eq!(read(&path, 6).unwrap(), Node::File(b"second".to_vec()));
        assert!(read(&path, 5).is_err());
        assert_eq!(read(&dir.join("empty"), 0).unwrap(), Node::Mask);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&dir), mode(&path)), (0o755, 0o644));
        fs::write(dir.join(".hidden"), "").unwrap();
        let names = ["empty", "x"].map(OsString::from).to_vec();
        assert_eq!(read(&dir, 0).unwrap(), Node::Directory(names));
    }

    #[test]
    fn links_are_followed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/null", at("mask")).unwrap();
        symlink("missing", at("dangling")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        assert_eq!(read(&at("link"), 9).unwrap(), Node::File(b"x".to_vec()));
        assert_eq!(read(&at("mask"), 9).unwrap(), Node::Mask);
        for (name, part) in [("dangling", "to nothing"), ("device", "by others")] {
            let error = format!("{:#}", read(&at(name), 9).unwrap_err());
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = write(root.path(), "file", b"x").unwrap();
        for (path, mode, good) in [
            (file.as_path(), 0o640, true),
            (&file, 0o664, false),
            (&file, 0o646, false),
            (root.path(), 0o700, true),
            (root.path(), 0o775, false),
        ] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let result = read(path, 9);
            assert_eq!(result.is_ok(), good, "{mode:o}: {result:?}");
        }
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pipe");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(read(&path, 9).is_err());
    }
}
