//! The store: images, unpacked and relocated once, then only read.
//!
//! ```text
//! images/                0711
//!   sha512-…/            0755, the first 64 digits of the image's ID
//!     image              what the store knows of the image, JSON
//!     manifest           the image manifest as it came
//!     relocations        what relocation did, JSON
//!     rootfs/            the tree
//!   tmp/                 0700, imports under way, each locked while its process lives
//!   files/               0700, which files were imported already
//! ```
//!
//! An image appears under its name whole or not at all: it is made in `tmp`, brought to the
//! disk, and renamed. Trees stand where apps without privileges can reach them, as the
//! interpreters and libraries of relocated programs are found there.

mod directory;
mod import;
mod index;
mod record;
mod staging;

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::image::id::{IdPrefix, ImageId};
use crate::image::limits::Limits;
use crate::image::manifest::ImageManifest;
use crate::image::reference::{NameReference, Reference};
use crate::image::relocate::Report;
use crate::image::unpack::LeftOut;

/// The images of one skim directory.
#[derive(Debug)]
pub struct Store {
    /// The absolute path of `images`, free of symbolic links.
    path: PathBuf,
    images: OwnedFd,
    tmp: OwnedFd,
    files: OwnedFd,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The image's ID.
    pub id: ImageId,
    /// The image's name, an AC Identifier.
    pub name: String,
    /// The value of its label `version`.
    pub version: Option<String>,
    /// The image manifest.
    pub manifest: ImageManifest,
    /// The absolute path of its unpacked tree.
    pub tree: PathBuf,
    /// Where it came from: a file's path, for people to read.
    pub origin: String,
    /// When it was imported.
    pub imported: SystemTime,
    /// The size of its uncompressed archive in bytes.
    pub size: u64,
    /// What it holds and the tree does not.
    pub left_out: LeftOut,
}

impl Store {
    /// Opens the store beneath `skim_dir`, and makes what is missing of both.
    pub fn open(skim_dir: &Path) -> Result<Self> {
        let context = || format!("cannot open the store in {}", skim_dir.display());
        if !skim_dir.exists() {
            create_top(skim_dir).with_context(context)?;
        }
        // Relocated programs hold this path: it must not depend on how the user spelt it.
        let path = fs::canonicalize(skim_dir).with_context(context)?;
        ensure!(
            path.to_str().is_some(),
            "the path of the skim directory {} is not UTF-8; give another --dir",
            path.display()
        );
        Self::open_in(path).with_context(context)
    }

    fn open_in(path: PathBuf) -> Result<Self> {
        let top = directory::open_top(&path)?;
        let images = directory::ensure(top.as_fd(), "images", 0o711)?;
        Ok(Self {
            path: path.join("images"),
            tmp: directory::ensure(images.as_fd(), "tmp", 0o700)?,
            files: directory::ensure(images.as_fd(), "files", 0o700)?,
            images,
        })
    }

    /// The image that `reference` means; a file is imported if its image is new.
    pub fn fetch(&self, reference: &Reference, limits: Limits) -> Result<Image> {
        match reference {
            Reference::File(path) => self.fetch_file(path, limits),
            Reference::Id(prefix) => self.get(prefix),
            Reference::Name(name) => match self.find(name)? {
                Some(image) => Ok(image),
                // A name with a slash may have been meant as a relative path.
                None if name.to_string().contains('/') && Path::new(&name.to_string()).exists() => {
                    self.fetch_file(Path::new(&name.to_string()), limits)
                }
                None => bail!(
                    "no image {name} is in the store {}: give the file NAME.aci to import it",
                    self.path.display()
                ),
            },
        }
    }

    /// The one image whose ID starts with `prefix`.
    pub fn get(&self, prefix: &IdPrefix) -> Result<Image> {
        let mut found = Vec::new();
        for name in self.directories()? {
            if prefix.may_match_directory(&name) {
                let image = self.load(&name)?;
                if prefix.matches(&image.id) {
                    found.push(image);
                }
            }
        }
        match (found.pop(), found.len()) {
            (Some(image), 0) => Ok(image),
            (Some(_), others) => bail!(
                "ambiguous image ID: {} images start with {prefix}; give more digits",
                others + 1
            ),
            (None, _) => bail!("no image IDs found that start with {prefix}"),
        }
    }

    /// All images, the oldest import first. An image that cannot be read is logged and left out.
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for name in self.directories()? {
            match self.load(&name) {
                Ok(image) => images.push(image),
                Err(error) => log::warn!("{error:#}"),
            }
        }
        images.sort_by(|a, b| (a.imported, &a.id).cmp(&(b.imported, &b.id)));
        Ok(images)
    }

    /// What relocation did to an image.
    pub fn relocations(&self, image: &Image) -> Result<Report> {
        record::read_relocations(self.images.as_fd(), image.id.directory())
            .with_context(|| format!("cannot read the relocations of image {}", image.id.short()))
    }

    /// The newest import of a name.
    fn find(&self, name: &NameReference) -> Result<Option<Image>> {
        let fits = |image: &Image| {
            image.name == name.name && (name.version.is_none() || image.version == name.version)
        };
        Ok(self.list()?.into_iter().rev().find(fits))
    }

    /// The names of all images' directories.
    fn directories(&self) -> Result<Vec<String>> {
        let names = directory::names(self.images.as_fd())
            .with_context(|| format!("cannot list {}", self.path.display()))?;
        let is_image = |name: &String| name.len() == 71 && IdPrefix::is_meant_by(name);
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(is_image)
            .collect())
    }

    /// Reads the image in the directory `name`.
    fn load(&self, name: &str) -> Result<Image> {
        record::load(self.images.as_fd(), name, &self.tree(name)).with_context(|| {
            format!(
                "cannot read the image in {}",
                self.path.join(name).display()
            )
        })
    }

    /// The path of the tree of the image in the directory `name`.
    fn tree(&self, name: &str) -> PathBuf {
        self.path.join(name).join(record::ROOTFS)
    }
}

/// Makes the skim directory: apps without privileges must be able to pass through it.
fn create_top(skim_dir: &Path) -> std::io::Result<()> {
    if let Some(parent) = skim_dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(skim_dir) {
        // mkdir(2) would subtract the umask.
        Ok(()) => fs::set_permissions(skim_dir, Permissions::from_mode(0o711)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
