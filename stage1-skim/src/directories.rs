//! Directories of a service's user: `RuntimeDirectory=`, `StateDirectory=` and their like
//! (systemd.exec(5)) where stage1-skim changes to the user, whom systemd does not know. systemd
//! would give them to root again before each command.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
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

/// Where such directories are. They are root's, and beneath them no link is followed: the app
/// may have made it.
const BASES: [&str; 4] = ["/run", "/var/lib", "/var/cache", "/var/log"];

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
    act_beneath(&BASES.map(Path::new), action)
}

fn act_beneath(bases: &[&Path], action: Action) -> Result<()> {
    match action {
        Action::Make {
            uid,
            gid,
            directories,
        } => directories.iter().try_for_each(|directory| {
            let (mode, path) = directory.split_once(':').context("it is not MODE:/PATH")?;
            let mode = u32::from_str_radix(mode, 8).context("its mode is no octal number")?;
            let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
            let made = place(bases, Path::new(path));
            let made = made.and_then(|place| make_one(&place, mode, owner));
            made.with_context(|| format!("cannot make {path}"))
        }),
        Action::Remove { directories } => directories.iter().try_for_each(|path| {
            let removed = place(bases, path).and_then(|place| remove_one(&place));
            removed.with_context(|| format!("cannot remove {}", path.display()))
        }),
    }
}

/// Where a directory is: one of the bases, and the names from there, its own the last.
struct Place<'a> {
    base: OwnedFd,
    above: Vec<&'a OsStr>,
    name: &'a OsStr,
}

fn place<'a>(bases: &[&Path], path: &'a Path) -> Result<Place<'a>> {
    let mut all = bases.iter();
    let found = all.find_map(|base| Some((base, path.strip_prefix(base).ok()?)));
    let (base, rest) = found.context("it is in no place for such directories")?;
    let names = rest.components().map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => bail!("it is no plain path"),
    });
    let mut above = names.collect::<Result<Vec<_>>>()?;
    let name = above.pop().context("it has no name")?;
    let base = openat2(CWD, *base, DIRECTORY, Mode::empty(), ResolveFlags::empty())?;
    Ok(Place { base, above, name })
}

/// Makes a directory and what is missing above it.
fn make_one(place: &Place<'_>, mode: u32, owner: (Uid, Gid)) -> Result<()> {
    let mut parent = place.base.try_clone()?;
    for name in &place.above {
        parent = make_in(parent.as_fd(), name, 0o755)?;
    }
    let directory = make_in(parent.as_fd(), place.name, 0o700)?;
    let stat = fstat(&directory)?;
    if (stat.st_uid, stat.st_gid) != (owner.0.as_raw(), owner.1.as_raw()) {
        give(&directory, owner, 0)?;
        fchown(&directory, Some(owner.0), Some(owner.1))?;
    }
    fchmod(&directory, Mode::from_raw_mode(mode))?;
    Ok(())
}

fn make_in(parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(open(parent, Path::new(name))?),
        Err(error) => Err(error.into()),
    }
}

/// Gives all that is in a directory to its new owner, links themselves, and no file that has
/// another name elsewhere. What is mounted there is not the directory's.
fn give(directory: &OwnedFd, owner: (Uid, Gid), depth: usize) -> Result<()> {
    ensure!(depth < DEPTH_MAX, "directories in it lie too deep");
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let name = OsStr::from_bytes(name.to_bytes());
        let given = give_one(directory.as_fd(), name, owner, depth);
        given.with_context(|| format!("cannot change the owner of {name:?} in it"))?;
    }
    Ok(())
}

fn give_one(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    (uid, gid): (Uid, Gid),
    depth: usize,
) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = BENEATH | ResolveFlags::NO_XDEV;
    let mut entry = match openat2(parent, name, flags, Mode::empty(), how) {
        // Others may be at work there.
        Err(Errno::XDEV | Errno::NOENT) => return Ok(()),
        entry => entry?,
    };
    let stat = fstat(&entry)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        entry = match open(entry.as_fd(), Path::new(".")) {
            Err(Errno::NOENT) => return Ok(()),
            entry => entry?,
        };
        give(&entry, (uid, gid), depth + 1)?;
    } else if stat.st_nlink != 1 {
        return Ok(());
    }
    Ok(chownat(
        &entry,
        "",
        Some(uid),
        Some(gid),
        AtFlags::EMPTY_PATH,
    )?)
}

/// Removes a directory. Where `ReadWritePaths=` is about it, systemd has mounted it upon itself in
/// the service's own mount namespace, also for a command of full privileges.
fn remove_one(place: &Place<'_>) -> Result<()> {
    let mut parent = place.base.try_clone()?;
    for name in &place.above {
        parent = match open(parent.as_fd(), Path::new(name)) {
            Err(Errno::NOENT) => return Ok(()),
            parent => parent?,
        };
    }
    let removed = remove_tree(parent.as_fd(), place.name);
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt"));
    let is_own = || Ok::<_, std::io::Error>(namespace("self")? != namespace("1")?);
    match removed {
        Err(_) if is_own().unwrap_or(false) => {
            let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            unmount(path.join(place.name), flags).context("it cannot be unmounted")?;
            remove_tree(parent.as_fd(), place.name)
        }
        removed => removed,
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn open(parent: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat2(parent, path, DIRECTORY, Mode::empty(), BENEATH)
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
        fs::write(at("kept").join(OsStr::from_bytes(b"\xff")), "").unwrap();
        let act = |action| act_beneath(&[lab.path()], action);
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
    #[test]
    fn links_of_the_app_are_not_followed() {
        let lab = tempfile::tempdir().unwrap();
        let at = |path: &str| lab.path().join(path);
        let act = |action| act_beneath(&[lab.path()], action);
        fs::create_dir_all(at("other/b")).unwrap();
        fs::create_dir(at("foo")).unwrap();
        symlink(at("other"), at("foo/a")).unwrap();
        let make = |name: &str| Action::Make {
            uid: 12,
            gid: 13,
            directories: vec![format!("700:{}", at(name).display())],
        };
        let remove = Action::Remove {
            directories: vec![at("foo/a/b")],
        };
        assert!(act(make("foo/a/b")).is_err());
        assert!(act(make("foo/../other/b")).is_err());
        assert!(act(remove).is_err());
        assert_eq!(fs::metadata(at("other/b")).unwrap().uid(), 0);
        assert!(act_beneath(&[&at("foo")], make("other/b")).is_err());
    }
}
