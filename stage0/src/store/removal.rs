//! Images, trees and archives are taken away.
//!
//! The store is locked while it is found out what nobody needs and while that is moved aside,
//! which takes no time; what was moved aside is deleted when the store is free again. Whoever is
//! killed meanwhile leaves it to the next import, as what an import leaves.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use stage1_skim::remove::remove_tree;

use super::garbage::{Contents, Garbage, StoredBlob, StoredImage, StoredTree};
use super::import::is_full;
use super::staging::Staging;
use super::tree::{TreeKey, TreeRecord};
use super::{Hold, Store, blobs, directory, lock, partial};

/// A removal under way: nobody brings an image or makes a pod.
pub struct Removal<'a> {
    store: &'a Store,
    /// Both are there until the removal ends.
    staging: Option<Staging<'a>>,
    /// What was moved to `tmp` itself, where there is no room for a directory.
    loose: Vec<String>,
    hold: Option<Hold>,
}

impl Store {
    /// Waits until nobody brings or uses an image, and keeps it so.
    ///
    /// # Errors
    /// Where the store cannot be locked.
    pub fn removal(&self) -> Result<Removal<'_>> {
        // First, as it may take a while to sweep up what others left.
        let staging = match Staging::new(self.tmp.as_fd()) {
            // On a full disk, things can still be moved to a directory that is there.
            Err(error) if is_full(&error) => None,
            staging => Some(staging?),
        };
        let hold = lock::exclude(self.images.as_fd())?;
        Ok(Removal {
            store: self,
            staging,
            loose: Vec::new(),
            hold: Some(hold),
        })
    }

    /// All that is in the store.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        for name in self.directories()? {
            match self.load(&name) {
                Ok(image) => contents.images.push(StoredImage::of(&image)),
                Err(error) => {
                    log::warn!("{error:#}");
                    match self.read_record(&name) {
                        Ok(record) => contents.images.push(StoredImage::damaged(&record)),
                        Err(_) => contents.unknown.push(name.clone()),
                    }
                    contents.damaged.push(name);
                }
            }
        }
        contents.trees = self.trees()?;
        contents.blobs = self.blobs()?;
        Ok(contents)
    }

    fn trees(&self) -> Result<Vec<StoredTree>> {
        let names = directory::names(self.trees.as_fd()).context("cannot list the trees")?;
        let keys = names
            .iter()
            .filter_map(|name| TreeKey::of_directory(name.to_str()?));
        let tree = |key: TreeKey| {
            let path = self.tree_path(&key);
            let record = TreeRecord::read(self.trees.as_fd(), &key, &path);
            StoredTree {
                layers: record.ok().map(|record| record.layers),
                path,
                key,
            }
        };
        Ok(keys.map(tree).collect())
    }

    fn blobs(&self) -> Result<Vec<StoredBlob>> {
        let names = directory::names(self.blobs.as_fd()).context("cannot list the archives")?;
        let mut blobs = Vec::new();
        for name in names.iter().filter_map(|name| name.to_str()) {
            let Some(digest) = blobs::digest_of(name) else {
                continue;
            };
            let stat = rustix::fs::statat(&self.blobs, name, AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| format!("cannot look at the archive {name:?}"))?;
            let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
            blobs.push(StoredBlob {
                digest,
                size: u64::try_from(stat.st_size).unwrap_or_default(),
                written: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            });
        }
        Ok(blobs)
    }

    /// Removes downloads that nobody works on and that were touched last before `until`; returns
    /// how many.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn sweep_downloads(&self, until: SystemTime) -> Result<u64> {
        partial::sweep(self.partial.as_fd(), |changed| changed <= until)
    }
}

impl Removal<'_> {
    /// Takes all of `garbage` away.
    ///
    /// # Errors
    /// Where something is mounted in a tree: then all stays. Where the file system fails: then
    /// what was not moved aside stays, and the rest goes with the next removal or import.
    pub fn remove(mut self, garbage: &Garbage) -> Result<()> {
        let moved = self
            .check_mounts(garbage)
            .and_then(|()| self.set_aside(garbage));
        moved.and(self.end())
    }

    /// Sets the store free, then deletes what was moved aside.
    fn end(&mut self) -> Result<()> {
        drop(self.hold.take());
        let tmp = self.store.tmp.as_fd();
        let mut loose = self.loose.drain(..);
        loose.try_for_each(|name| remove_tree(tmp, name.as_ref()))?;
        self.staging.take().map_or(Ok(()), Staging::discard)
    }

    fn check_mounts(&self, garbage: &Garbage) -> Result<()> {
        if garbage.trees.is_empty() {
            return Ok(());
        }
        let table = std::fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
        for key in &garbage.trees {
            let path = self.store.tree_path(key);
            let beneath = path.parent().unwrap_or(Path::new("/"));
            if let Some(mounted) = stage1_skim::mounts::beneath(&table, beneath).first() {
                bail!(
                    "something is mounted at {}, in the tree of an image; unmount it first",
                    mounted.display()
                );
            }
        }
        Ok(())
    }

    /// What names something goes before what it names: an image that is there is whole.
    fn set_aside(&mut self, garbage: &Garbage) -> Result<()> {
        let store = self.store;
        for name in &garbage.images {
            self.move_aside(store.images.as_fd(), name, "image")?;
        }
        for key in &garbage.trees {
            self.move_aside(store.trees.as_fd(), key.as_str(), "tree")?;
        }
        for digest in &garbage.blobs {
            self.move_aside(store.blobs.as_fd(), &blobs::file_name(digest), "archive")?;
        }
        Ok(())
    }

    fn move_aside(&mut self, dir: BorrowedFd<'_>, name: &str, kind: &str) -> Result<()> {
        let mut aside = format!("{kind}-{name}");
        let to = match &self.staging {
            Some(staging) => staging.dir(),
            None => {
                // Whatever else is there: it has a name of its own.
                aside = format!("{}-{aside}", std::process::id());
                self.store.tmp.as_fd()
            }
        };
        match rustix::fs::renameat(dir, name, to, &*aside) {
            Ok(()) if self.staging.is_none() => self.loose.push(aside),
            Ok(()) | Err(Errno::NOENT) => (),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot move the {kind} {name} aside"));
            }
        }
        Ok(())
    }
}

/// A removal that was given up leaves nothing.
impl Drop for Removal<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::warn!("{error:#}");
        }
    }
}
