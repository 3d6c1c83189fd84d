//! What a layer hides, replaces or does not list goes away, and nothing else.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, ensure};
use rustix::fs::Dir;
use stage1_skim::remove::remove_tree;

use super::path::{join, split};
use super::{Unpacker, attributes, directories};
use crate::image::whitelist::Whitelist;

impl Unpacker {
    /// Hides what lower layers have at `name` in the directory at `path`: what the present layer
    /// makes there stays, before and after. `marker` is the name that the archive says it with.
    pub fn hide(&mut self, path: &[u8], name: &[u8], marker: &[u8]) -> Result<()> {
        let Some(directory) = self.hiding_place(path, marker)? else {
            return Ok(());
        };
        let target = join(&directory, name);
        if self.made.contains(&target) {
            return Ok(());
        }
        if self.directories.is_present(&target) {
            self.hide_below(&target)?;
            return self.reset_unless_described(&target);
        }
        self.remove(&target)
    }

    /// Hides all that lower layers have in the directory at `path`, in the same way.
    pub fn hide_all(&mut self, path: &[u8], marker: &[u8]) -> Result<()> {
        match self.hiding_place(path, marker)? {
            Some(directory) => self.hide_below(&directory),
            None => Ok(()),
        }
    }

    /// Removes all that a white list does not have; the tree is complete.
    pub fn keep_only(&mut self, whitelist: &Whitelist) -> Result<()> {
        self.last = None;
        let listed =
            |this: &Self, path: &[u8]| whitelist.keeps(path, this.directories.contains(path));
        let mut at = Vec::new();
        loop {
            self.sweep(&at, listed)?;
            // What was not listed is gone from the known directories as well.
            match self.directories.next_below(b"", Some(&at)) {
                Some(next) => at = next,
                None => return Ok(()),
            }
        }
    }

    /// The real path of a directory in which something is to be hidden, if there is any.
    fn hiding_place(&mut self, path: &[u8], marker: &[u8]) -> Result<Option<Vec<u8>>> {
        self.count(0)?;
        // Beneath the lowest layer is nothing.
        if !self.has_lower() {
            return Ok(None);
        }
        self.last = None;
        let Some(found) = self.existing(path)? else {
            return Ok(None);
        };
        let directory = found.real.unwrap_or_else(|| path.to_vec());
        ensure!(
            self.made.insert(&join(&directory, marker)),
            "duplicate entry: the same is hidden twice"
        );
        Ok(Some(directory))
    }

    /// Removes what lower layers have beneath the directory at the real path `top`.
    fn hide_below(&mut self, top: &[u8]) -> Result<()> {
        let ours = |this: &Self, path: &[u8]| {
            this.made.contains(path) || this.directories.is_present(path)
        };
        // Once hidden, whatever is beneath belongs to the present layer: each directory is
        // looked through once for each layer, however many of those above it are hidden.
        if self.directories.is_hidden(top) {
            return Ok(());
        }
        self.sweep(top, ours)?;
        let mut after = None;
        while let Some(path) = self.directories.next_below(top, after.as_deref()) {
            if !self.directories.is_hidden(&path) {
                self.sweep(&path, ours)?;
                self.directories.set_hidden(&path);
            }
            self.reset_unless_described(&path)?;
            after = Some(path);
        }
        self.directories.set_hidden(top);
        Ok(())
    }

    /// A directory of a lower layer that is hidden, but stays for what the present layer has
    /// beneath it, is as if it had been made for that.
    fn reset_unless_described(&mut self, path: &[u8]) -> Result<()> {
        if self.directories.is_described(path) || self.directories.is_implied(path) {
            return Ok(());
        }
        let fd = directories::open(self.root.as_fd(), path)
            .context("cannot open a directory that it hides")?;
        attributes::reset_directory(fd.as_fd(), self.owners)?;
        self.directories.imply(path)
    }

    /// Removes what is in the directory at the real path `directory` and is not to be kept.
    fn sweep(&mut self, directory: &[u8], keep: impl Fn(&Self, &[u8]) -> bool) -> Result<()> {
        let context = || format!("cannot list \"/{}\"", directory.escape_ascii());
        let fd = directories::open(self.root.as_fd(), directory).with_context(context)?;
        // A file system may leave entries out of a listing while others are removed.
        let mut removed = true;
        while removed {
            removed = false;
            for entry in Dir::read_from(&fd).with_context(context)? {
                let entry = entry.with_context(context)?;
                let name = entry.file_name().to_bytes();
                let path = join(directory, name);
                if matches!(name, b"." | b"..") || keep(self, &path) {
                    continue;
                }
                remove_tree(fd.as_fd(), OsStr::from_bytes(name))?;
                self.directories.forget(&path);
                removed = true;
            }
        }
        Ok(())
    }

    /// Removes what is at a real path, if anything is.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<()> {
        let (directory, name) = split(path);
        let fd = directories::open(self.root.as_fd(), directory)
            .context("cannot open the directory of what is to be removed")?;
        remove_tree(fd.as_fd(), name)?;
        self.directories.forget(path);
        Ok(())
    }
}
