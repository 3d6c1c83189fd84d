//! Symbolic links whose targets mean the image's root: made relative, so that they mean the tree.

use rustix::fs::{AtFlags, chownat, fstat, futimens, renameat, symlinkat, unlinkat, utimensat};
use rustix::io::{Errno, Result};

use super::attributes::{owner, times};
use super::tree::{Last, Tree, components, join};
use super::walk::Entry;

/// Directories of the image that mean the host's: what is mounted there tells programs about,
/// and lets them act on, the system that they run on.
const HOST_DIRECTORIES: [&[u8]; 4] = [b"proc", b"sys", b"dev", b"run"];

/// The longest target of a link (PATH_MAX with its NUL).
pub(super) const MAX_TARGET: usize = 4095;

/// The target that a link in the real directory `dir` needs in place of `target`; `None` if it
/// is right as it is.
///
/// An absolute target in the image becomes relative. One that is not in the image, or is one of
/// the host's directories, means the host. A relative one that climbs above the root ends
/// there, as it would under chroot(2).
pub(super) fn new_target(tree: Tree<'_>, dir: &[u8], target: &[u8]) -> Result<Option<Vec<u8>>> {
    let found = tree.find(dir, target, Last::Keep)?;
    let (written, climbs) = lexical(dir, target);
    if !target.starts_with(b"/") {
        return Ok(match found {
            Some(found) if found.clamped => Some(relative(dir, &found.path)),
            None if climbs => Some(relative(dir, &written)),
            _ => None,
        });
    }
    let Some(found) = found else {
        return Ok(None);
    };
    if means_host(&written) || means_host(&found.path) {
        return Ok(None);
    }
    // The path as written may pass other links, which may be what is meant to be changed later;
    // but what `..` means depends on them.
    let climbs = components(target).any(|name| name == b"..");
    let to = if climbs { &found.path } else { &written };
    Ok(Some(relative(dir, to)))
}

/// Puts a link with another target in the place of one, with the same owner and times; the
/// directory's times stay too.
pub(super) fn replace(entry: &Entry<'_>, target: &[u8]) -> Result<()> {
    let dir_stat = fstat(entry.dir)?;
    let name = create(entry, target)?;
    let outcome = copy_attributes(entry, &name)
        .and_then(|()| renameat(entry.dir, &*name, entry.dir, entry.name));
    if let Err(error) = outcome {
        // Only the first error tells the cause; the tree is discarded after it.
        let _ = unlinkat(entry.dir, &*name, AtFlags::empty());
        return Err(error);
    }
    futimens(entry.dir, &times(&dir_stat))
}

/// Creates a link of a name that is not taken.
fn create(entry: &Entry<'_>, target: &[u8]) -> Result<String> {
    let mut number = 0_u32;
    loop {
        let name = format!(".skim-{number}");
        match symlinkat(target, entry.dir, &*name) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) if number < u32::MAX => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn copy_attributes(entry: &Entry<'_>, name: &str) -> Result<()> {
    let (user, group) = owner(entry.stat);
    chownat(
        entry.dir,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    utimensat(
        entry.dir,
        name,
        &times(entry.stat),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn means_host(path: &[u8]) -> bool {
    components(path)
        .next()
        .is_some_and(|first| HOST_DIRECTORIES.contains(&first))
}

/// The path without `.` and `..`, by its text alone, and whether it tried to climb above `/`.
fn lexical(dir: &[u8], target: &[u8]) -> (Vec<u8>, bool) {
    let start = if target.starts_with(b"/") { b"/" } else { dir };
    let mut path: Vec<&[u8]> = components(start).collect();
    let mut climbs = false;
    for name in components(target) {
        if name != b".." {
            path.push(name);
        } else if path.pop().is_none() {
            climbs = true;
        }
    }
    (join(&path), climbs)
}

/// The relative path from the real directory `dir` to `to`, both paths of the image.
fn relative(dir: &[u8], to: &[u8]) -> Vec<u8> {
    let dir: Vec<_> = components(dir).collect();
    let to: Vec<_> = components(to).collect();
    let common = dir.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = dir[common..].iter().map(|_| &b".."[..]);
    let steps: Vec<_> = up.chain(to[common..].iter().copied()).collect();
    if steps.is_empty() {
        b".".to_vec()
    } else {
        steps.join(&b'/')
    }
}

#[cfg(test)]
#[path = "symlink_tests.rs"]
mod tests;
