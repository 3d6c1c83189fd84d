//! Relocation: an image's programs are made to run from a path that is not `/`, with no chroot.
//!
//! Done once per image, on the unpacked tree, against the path at which the store will keep it:
//!
//! - Dynamic executables get the image's own loader as their interpreter, and a DT_RPATH with
//!   the image's library directories (`program`). DT_RPATH rather than DT_RUNPATH, which the
//!   libraries' own needs and dlopen(3) ignore; absolute paths rather than `$ORIGIN`, which
//!   means nothing to a program that runs from a memfd.
//! - Shared libraries are changed only where a search path of their own gets in the way.
//! - `#!` lines whose interpreter is in the image name it there (`shebang`).
//! - Symbolic links that mean the image's root become relative (`symlink`).
//!
//! Everything else stays byte for byte: static programs, the loader, what is not executable,
//! and what has no loader or interpreter in the image and so means the host's.

mod attributes;
mod cow;
mod elf;
mod elf_patch;
mod libraries;
mod panics;
mod program;
mod report;
mod rpath;
mod shebang;
mod survey;
mod symlink;
mod tree;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;

pub use self::report::{Change, FromTo, Left, Report, What};

use self::attributes::Attributes;
use self::program::Programs;
use self::report::{Recorder, show};
use self::shebang::Shebang;
use self::tree::{Tree, components, join, open_regular};
use self::walk::{Entry, Visitor, walk};

/// Relocates the tree at `root` so that it works at `final_root`, the absolute path at which it
/// will stand.
///
/// A file that cannot be changed is left as it is and reported; an error means that the file
/// system failed, and that the tree is of no use.
pub fn relocate(root: BorrowedFd<'_>, final_root: &Path) -> Result<Report> {
    let tree = Tree::new(root);
    let final_root = checked_root(final_root)?;
    let survey = survey::survey(tree)?;
    let mut relocation = Relocation {
        tree,
        programs: Programs::new(tree, &final_root, &survey),
        final_root: &final_root,
        linked: HashSet::new(),
        report: Recorder::default(),
    };
    walk(tree, &mut relocation)?;
    Ok(relocation.report.finish())
}

/// The final root as plain bytes, if library search paths can name it.
fn checked_root(path: &Path) -> Result<Vec<u8>> {
    if !path.is_absolute() {
        bail!(
            "cannot relocate an image to {}: the path is not absolute",
            path.display()
        );
    }
    let bytes = path.as_os_str().as_bytes();
    if !rpath::is_expressible(bytes) {
        bail!(
            "cannot relocate an image to {}: a library search path cannot name a path with `:`, \
             `$` or a newline; choose another directory with --dir",
            path.display()
        );
    }
    let components: Vec<_> = components(bytes).collect();
    if components.is_empty() || components.contains(&&b".."[..]) {
        bail!(
            "cannot relocate an image to {}: name a directory below /",
            path.display()
        );
    }
    Ok(join(&components))
}

struct Relocation<'a> {
    tree: Tree<'a>,
    final_root: &'a [u8],
    programs: Programs<'a>,
    /// Inodes with several names that have been dealt with under one of them.
    linked: HashSet<(u64, u64)>,
    report: Recorder,
}

impl Visitor for Relocation<'_> {
    fn regular(&mut self, entry: &Entry<'_>) -> Result<()> {
        if entry.stat.st_nlink > 1 && !self.linked.insert(entry.id()) {
            return Ok(());
        }
        self.relocate_file(entry)
            .with_context(|| format!("cannot relocate {} of the image", show(&entry.path())))
    }

    fn symlink(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.relocate_link(entry).with_context(|| {
            format!(
                "cannot relocate the link {} of the image",
                show(&entry.path())
            )
        })
    }
}

impl Relocation<'_> {
    fn relocate_file(&mut self, entry: &Entry<'_>) -> Result<()> {
        if entry.stat.st_size < 4 {
            return Ok(());
        }
        let file = open_regular(entry.dir, entry.name, OFlags::RDONLY)?;
        let head = shebang::read_head(&file)?;
        if head.starts_with(b"\x7fELF") {
            self.programs.relocate(entry, &file, &mut self.report)
        } else if head.starts_with(b"#!") && is_executable(entry) {
            self.relocate_script(entry, &head)
        } else {
            Ok(())
        }
    }

    fn relocate_script(&mut self, entry: &Entry<'_>, head: &[u8]) -> Result<()> {
        let Some(shebang) = Shebang::parse(head) else {
            return Ok(());
        };
        let from = shebang.interpreter();
        if !from.starts_with(b"/") {
            return Ok(());
        }
        let Some(found) = self.tree.find_file(from)? else {
            return Ok(());
        };
        // As it is written: what it is called tells some programs what to do.
        let climbs = components(from).any(|name| name == b"..");
        let path = if climbs { &found.path[..] } else { from };
        match shebang.with_interpreter(&rpath::below(self.final_root, path)) {
            Err(refusal) => self.report.left(&entry.path(), refusal.to_string()),
            Ok(line) => {
                rewrite(entry, |file| {
                    let old_len = shebang.line.len() as u64;
                    Ok(shebang::replace_head(file, entry.dir, old_len, &line)?)
                })?;
                let (from, to) = (show(shebang.line), show(&line));
                self.report
                    .changed(&entry.path(), What::Shebang { from, to });
            }
        }
        Ok(())
    }

    fn relocate_link(&mut self, entry: &Entry<'_>) -> Result<()> {
        let from = tree::read_link(entry.dir, entry.name)?;
        let Some(to) = symlink::new_target(self.tree, entry.dir_path, &from)? else {
            return Ok(());
        };
        if to.len() > symlink::MAX_TARGET {
            self.report
                .left(&entry.path(), "its relative target would be too long");
            return Ok(());
        }
        symlink::replace(entry, &to)?;
        let what = What::Symlink {
            from: show(&from),
            to: show(&to),
        };
        self.report.changed(&entry.path(), what);
        Ok(())
    }
}

fn is_executable(entry: &Entry<'_>) -> bool {
    entry.stat.st_mode & 0o111 != 0
}

/// Opens the file for writing, changes it, and puts its attributes back.
fn rewrite(entry: &Entry<'_>, change: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let mut file = open_regular(entry.dir, entry.name, OFlags::RDWR)?;
    let attributes = Attributes::read(&file, *entry.stat).context("cannot read its attributes")?;
    change(&mut file)?;
    attributes
        .restore(&file)
        .context("cannot put its attributes back")
}
