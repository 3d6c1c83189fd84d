//! Directories of a service's user: `RuntimeDirectory=`, `StateDirectory=` and their like
//! (systemd.exec(5)) where stage1-skim changes to the user, whom systemd does not know. systemd
//! would give them to root again before each command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown,
    fstat, mkdirat, openat2,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::pod::{Credentials, DirectoryPlan, ExecPlan};
use crate::remove::remove_tree;

/// The entrypoint that [`make`] and [`remove`] call.
pub const ENTRYPOINT: &str = "directories";

/// How deep directories may lie in one whose owner changes.
const DEPTH_MAX: usize = 128;

/// What is done with the directories.
#[derive(Subcommand)]
pub enum Action {
    /// Make them, and give them to the user
    Make {
        /// Owner
        #[arg(long)]
        uid: u32,
        /// Group
        #[arg(long)]
        gid: u32,
        /// Each with its mode: MODE:/PATH
        directories: Vec<String>,
    },
    /// Remove them
    Remove {
        /// The paths
        directories: Vec<PathBuf>,
    },
}

/// The command that makes the directories for `who`; `None` where there are none. Pure.
///
/// # Errors
/// Where a path is not UTF-8.
pub fn make(
    who: &Credentials,
    directories: &[DirectoryPlan],
    stage1: &Path,
) -> Result<Option<ExecPlan>> {
    let mut argv = command("make");
    argv.extend([format!("--uid={}", who.uid), format!("--gid={}", who.gid)]);
    argv.push("--".to_string());
    for directory in directories {
        let path = text(&directory.path)?;
        argv.push(format!("{:o}:{path}", directory.mode));
    }
    let path = stage1.to_path_buf();
    Ok((!directories.is_empty()).then_some(ExecPlan { path, argv }))
}

/// The command that removes those of them that go; `None` where there are none. Pure.
///
/// # Errors
/// Where a path is not UTF-8.
pub fn remove(directories: &[DirectoryPlan], stage1: &Path) -> Result<Option<ExecPlan>> {
    let gone = directories.iter().filter(|directory| directory.is_removed);
    let paths: Result<Vec<_>> = gone.map(|directory| text(&directory.path)).collect();
    let paths = paths?;
    let is_any = !paths.is_empty();
    let mut argv = command("remove");
    argv.push("--".to_string());
    argv.extend(paths);
    let path = stage1.to_path_buf();
    Ok(is_any.then_some(ExecPlan { path, argv }))
}

fn command(action: &str) -> Vec<String> {
    ["stage1-skim", ENTRYPOINT, action]
        .map(str::to_string)
        .into()
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_string);
    text.with_context(|| format!("the path {path:?} is not UTF-8"))
}

/// Does it.
///
/// # Errors
/// Where the file system refuses; the message names the directory.
pub fn act(action: Action) -> Result<()> {
    match action {
        Action::Make {
            uid,
            gid,
            directories,
        } => directories.iter().try_for_each(|directory| {
            let (mode, path) = directory.split_once(':').context("it is not MODE:/PATH")?;
            let mode = u32::from_str_radix(mode, 8).context("its mode is no octal number")?;
            let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
            make_one(Path::new(path), mode, owner).with_context(|| format!("cannot make {path}"))
        }),
        Action::Remove { directories } => directories.iter().try_for_each(|path| {
            remove_one(path).with_context(|| format!("cannot remove {}", path.display()))
        }),
    }
}

/// Makes a directory and what is missing above it. Links on the way are followed only where root
/// alone could have made them, which is to say above it.
fn make_one(path: &Path, mode: u32, owner: (Uid, Gid)) -> Result<()> {
    let (parent, name) = split(path)?;
    std::fs::create_dir_all(parent)?;
    let parent = open(CWD, parent, ResolveFlags::empty())?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => (),
        Err(error) => return Err(error.into()),
    }
    let directory = open(parent.as_fd(), Path::new(name), ResolveFlags::NO_SYMLINKS)?;
    let stat = fstat(&directory)?;
    if (stat.st_uid, stat.st_gid) != (owner.0.as_raw(), owner.1.as_raw()) {
        give(&directory, owner, 0)?;
        fchown(&directory, Some(owner.0), Some(owner.1))?;
    }
    fchmod(&directory, Mode::from_raw_mode(mode))?;
    Ok(())
}

/// Gives all that is in a directory to its new owner, links themselves, and no file that has
/// another name elsewhere.
fn give(directory: &OwnedFd, owner: (Uid, Gid), depth: usize) -> Result<()> {
    ensure!(depth < DEPTH_MAX, "directories in it lie too deep");
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let path = Path::new(name.to_str()?);
            let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            give(&open(directory.as_fd(), path, how)?, owner, depth + 1)?;
        }
        if kind == FileType::Directory || stat.st_nlink == 1 {
            let (uid, gid) = owner;
            chownat(
                directory,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
    }
    Ok(())
}

/// Removes a directory. Where `ReadWritePaths=` is about it, systemd has mounted it upon itself in
/// the service's own mount namespace, also for a command of full privileges.
fn remove_one(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    let parent = match open(CWD, parent, ResolveFlags::empty()) {
        Ok(parent) => parent,
        Err(error) if error.downcast_ref() == Some(&Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    let removed = remove_tree(parent.as_fd(), name);
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt"));
    let is_own = || Ok::<_, std::io::Error>(namespace("self")? != namespace("1")?);
    match removed {
        Err(_) if is_own().unwrap_or(false) => {
            unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .context("it cannot be unmounted")?;
            remove_tree(parent.as_fd(), name)
        }
        removed => removed,
    }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    let parent = path.parent().filter(|_| path.is_absolute());
    let parent = parent.context("it is no absolute path")?;
    Ok((parent, path.file_name().context("it has no name")?))
}

fn open(beneath: BorrowedFd<'_>, path: &Path, how: ResolveFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(beneath, path, flags, Mode::empty(), how)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn directories_are_the_user_s_and_go() {
        let lab = tempfile::tempdir().unwrap();
        let at = |path: &str| lab.path().join(path);
        fs::create_dir_all(at("kept/sub")).unwrap();
        fs::write(at("kept/sub/f"), "").unwrap();
        fs::write(at("outside"), "").unwrap();
        symlink(at("outside"), at("kept/link")).unwrap();
        fs::hard_link(at("outside"), at("kept/hard")).unwrap();
        let path = |path: &str| format!("{}/{path}", lab.path().display());
        let make = || Action::Make {
            uid: 12,
            gid: 13,
            directories: vec![
                format!("2755:{}", path("a/new")),
                format!("700:{}", path("kept")),
            ],
        };
        act(make()).unwrap();
        act(make()).unwrap();
        for (name, uid) in [("a/new", 12), ("a", 0), ("kept/sub/f", 12), ("outside", 0)] {
            assert_eq!(fs::metadata(at(name)).unwrap().uid(), uid, "{name}");
        }
        assert_eq!(fs::metadata(at("kept/sub")).unwrap().gid(), 13);
        let mode = fs::metadata(at("a/new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o2755);
        symlink(at("kept"), at("to-kept")).unwrap();
        let refused = Action::Make {
            uid: 1,
            gid: 1,
            directories: vec![format!("700:{}", path("to-kept"))],
        };
        assert!(act(refused).is_err());
        let remove = || Action::Remove {
            directories: vec![at("a/new"), at("none/x")],
        };
        act(remove()).unwrap();
        act(remove()).unwrap();
        assert!(!at("a/new").exists() && at("a").exists());
    }
}
