//! The store: images, unpacked and relocated once, then only read.
//!
//! ```text
//! images/                 0711
//!   lock                  held shared while images come or are put to use, alone while they go
//!   sha512-…/ sha256-…/   0755, an image, named by its ID (of an appc image, by 64 digits of it)
//!     image               what the store knows of the image, JSON
//!     manifest, config    the image's documents as they came
//!     used                its time of change is that of the last use
//!   trees/                0711
//!     KEY/                0755, a tree, named by what it is made of; images may share it
//!       tree              the archives that it was unpacked from, JSON
//!       relocations       what relocation did, JSON
//!       rootfs/           the tree itself
//!   blobs/                0700
//!     sha256-…            an archive as it came: an OCI layer, an appc image's file
//!   partial/              0700, downloads under way
//!   tmp/                  0700, imports under way, each locked while its process lives
//!   files/                0700, which files were imported already
//! ```
//!
//! An image appears under its name whole or not at all: it is made in `tmp`, brought to the
//! disk, and then what it is made of gets its place before the image does. Trees stand where
//! apps without privileges can reach them, as the interpreters and libraries of relocated
//! programs are found there; their paths never change, as relocated programs hold them.

mod blobs;
mod build;
pub mod compare;
mod dependencies;
pub(crate) mod directory;
mod export;
mod extract;
pub mod garbage;
mod import;
mod index;
mod lock;
mod partial;
mod record;
mod removal;
mod staging;
mod tree;
mod verify;

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::image::blob::Sha256;
use crate::image::id::{IdPrefix, ImageId};
use crate::image::manifest::ImageManifest;
use crate::image::reference::NameReference;
use crate::image::relocate::Report;
use crate::image::unpack::LeftOut;
use crate::registry::version::Validators;
use crate::trust::verify::Signature;

pub use self::blobs::of_file as blob_of_file;
pub use self::build::{Import, send};
pub use self::dependencies::Below;
pub use self::export::Form;
pub use self::import::{AciFound, Origin};
pub use self::index::Fingerprint;
pub use self::lock::Hold;
pub use self::partial::{Download, Downloads};
pub use self::record::{Documents, ImageName};
pub use self::removal::Removal;
pub use self::tree::{LayerContent, LayerRecord, TreeKey, TreeRecord};

use self::record::Record;

/// The store's directory in skim's own.
pub const DIRECTORY: &str = "images";

/// The images of one skim directory.
#[derive(Debug)]
pub struct Store {
    /// The absolute path of `images`, free of symbolic links.
    path: PathBuf,
    images: OwnedFd,
    trees: OwnedFd,
    blobs: OwnedFd,
    partial: OwnedFd,
    tmp: OwnedFd,
    files: OwnedFd,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The image's ID.
    pub id: ImageId,
    /// What it is called: an AC Identifier, or a repository with its registry; and the label
    /// `version` or the tag. The name that it was imported by last comes first.
    pub names: Vec<ImageName>,
    /// What it says of itself.
    pub manifest: ImageManifest,
    /// Its documents as they came.
    pub documents: Documents,
    /// The name of its tree.
    pub key: TreeKey,
    /// The absolute path of its unpacked tree.
    pub tree: PathBuf,
    /// The archives that the tree was unpacked from, the lowest first.
    pub layers: Vec<LayerRecord>,
    /// Where it came from: a path or a reference, for people to read.
    pub origin: String,
    /// The digest that an OCI image is known by where it comes from: of an index, or of its
    /// manifest.
    pub digest: Option<Sha256>,
    /// What tells whether the file of a web server has changed.
    pub validators: Option<Validators>,
    /// Whose signature an appc image has.
    pub signature: Option<Signature>,
    /// When it was imported last.
    pub imported: SystemTime,
    /// When a pod was made of it last.
    pub last_used: Option<SystemTime>,
    /// The bytes that it takes: of its archives as they came, and of what is in them.
    pub size: u64,
    /// What it holds and the tree does not.
    pub left_out: LeftOut,
}

impl Image {
    /// The name that it was imported by last.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| &name.name)
    }

    /// The version or tag that it was imported by last.
    pub fn version(&self) -> Option<&str> {
        self.names.first()?.version.as_deref()
    }

    /// The digest that it is known by where it comes from: of a manifest or an index; where that
    /// has none, what its ID is made of.
    pub fn known_digest(&self) -> String {
        match &self.digest {
            Some(digest) => digest.to_string(),
            None => self.id.as_str().replacen('-', ":", 1),
        }
    }

    /// The archive of an appc image itself, without those of its dependencies.
    pub fn archive(&self) -> Option<&LayerRecord> {
        let own = LayerContent::Image(self.id.clone());
        self.layers.iter().rfind(|layer| layer.content == own)
    }
}

impl Store {
    /// Opens the store beneath `skim_dir`, and makes what is missing of both.
    ///
    /// # Errors
    /// Where that cannot be, or others than root could write there.
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
        let images = directory::ensure(top.as_fd(), DIRECTORY, 0o711)?;
        Ok(Self {
            path: path.join(DIRECTORY),
            trees: directory::ensure(images.as_fd(), "trees", 0o711)?,
            blobs: directory::ensure(images.as_fd(), "blobs", 0o700)?,
            partial: directory::ensure(images.as_fd(), "partial", 0o700)?,
            tmp: directory::ensure(images.as_fd(), "tmp", 0o700)?,
            files: directory::ensure(images.as_fd(), "files", 0o700)?,
            images,
        })
    }

    /// Keeps what is in the store there, until the hold is dropped.
    ///
    /// # Errors
    /// Where the store cannot be locked.
    pub fn hold(&self) -> Result<Hold> {
        lock::share(self.images.as_fd())
    }

    /// The one image whose ID starts with `prefix`.
    ///
    /// # Errors
    /// Where there is none, or there are several.
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

    /// The image with this ID, if the store has it.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn find_id(&self, id: &ImageId) -> Result<Option<Image>> {
        let there = self
            .directories()?
            .iter()
            .any(|name| name == id.directory());
        let image = there.then(|| self.load(id.directory())).transpose()?;
        Ok(image.filter(|image| image.id == *id))
    }

    /// The newest import of a name.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn find(&self, name: &NameReference) -> Result<Option<Image>> {
        let fits = |known: &ImageName| name.fits(&known.name, known.version.as_deref());
        let images = self.list()?.into_iter();
        Ok(images.rev().find(|image| image.names.iter().any(fits)))
    }

    /// The newest import of what was fetched by this digest: of a manifest, or of an index.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn find_digest(&self, digest: &Sha256) -> Result<Option<Image>> {
        let id = ImageId::of_oci(digest);
        let mut images = self.list()?.into_iter().rev();
        Ok(images.find(|image| image.id == id || image.digest == Some(*digest)))
    }

    /// The newest import of what came from there.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn find_origin(&self, origin: &str) -> Result<Option<Image>> {
        let mut images = self.list()?.into_iter().rev();
        Ok(images.find(|image| image.origin == origin))
    }

    /// The directory of the images.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All images, the oldest import first. An image that cannot be read is logged and left out.
    ///
    /// # Errors
    /// Where the store cannot be read.
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
    ///
    /// # Errors
    /// Where the report is missing or damaged.
    pub fn relocations(&self, image: &Image) -> Result<Report> {
        tree::read_relocations(self.trees.as_fd(), &image.key)
            .with_context(|| format!("cannot read the relocations of image {}", image.id.short()))
    }

    /// Notes that a pod is made of the image.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn note_use(&self, image: &Image, now: SystemTime) -> Result<()> {
        let dir = directory::open(self.images.as_fd(), image.id.directory())?;
        record::note_use(dir.as_fd(), now)
    }

    /// The image that a file which was read before holds, if it is still there.
    pub fn known_file(&self, file: &Fingerprint, choice: &str) -> Option<Image> {
        let id = index::look_up(self.files.as_fd(), file, choice)?;
        match self.load(id.directory()) {
            // What others an image builds upon may have changed, even though its file has not.
            Ok(image) => {
                (image.id == id && image.manifest.dependencies.is_empty()).then_some(image)
            }
            Err(error) => {
                log::debug!("the file is read again: {error:#}");
                None
            }
        }
    }

    /// Notes which image a file holds that looks like `file` since before `began`.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn note_file(
        &self,
        file: Fingerprint,
        choice: &str,
        began: SystemTime,
        image: &Image,
    ) -> Result<()> {
        index::note(self.files.as_fd(), file, choice, began, image.id.clone())
    }

    /// The names of all images' directories.
    fn directories(&self) -> Result<Vec<String>> {
        let names = directory::names(self.images.as_fd())
            .with_context(|| format!("cannot list {}", self.path.display()))?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| is_image_directory(name))
            .collect())
    }

    /// Reads the image in the directory `name`.
    fn load(&self, name: &str) -> Result<Image> {
        self.read_image(name).with_context(|| {
            format!(
                "cannot read the image in {}",
                self.path.join(name).display()
            )
        })
    }

    /// Reads the record alone of the image in the directory `name`.
    fn read_record(&self, name: &str) -> Result<Record> {
        let dir = directory::open(self.images.as_fd(), name)?;
        Record::read(dir.as_fd(), name)
    }

    fn read_image(&self, name: &str) -> Result<Image> {
        let dir = directory::open(self.images.as_fd(), name)?;
        let record = Record::read(dir.as_fd(), name)?;
        let documents = Documents::read(dir.as_fd())?;
        let manifest = documents.parse(&record.names[0])?;
        let tree = self.load_tree(&record.tree)?;
        Ok(Image {
            imported: record.imported(),
            last_used: record::last_use(dir.as_fd())?,
            id: record.id,
            names: record.names,
            manifest,
            documents,
            key: record.tree,
            size: tree.size(),
            left_out: tree.left_out,
            layers: tree.layers,
            tree: tree.path,
            origin: record.origin,
            digest: record.digest,
            validators: record.validators,
            signature: record.signature,
        })
    }

    /// Reads the record of a tree.
    fn load_tree(&self, key: &TreeKey) -> Result<TreeRecord> {
        TreeRecord::read(self.trees.as_fd(), key, &self.tree_path(key)).with_context(|| {
            format!(
                "cannot use the tree {} (skim image rm takes it away with its image)",
                key.as_str()
            )
        })
    }

    /// The path of a tree.
    fn tree_path(&self, key: &TreeKey) -> PathBuf {
        let trees = self.path.join("trees");
        trees.join(key.as_str()).join(tree::ROOTFS)
    }
}

/// Whether a directory of this name may be an image's.
fn is_image_directory(name: &str) -> bool {
    name.len() == 71 && IdPrefix::is_meant_by(name) && IdPrefix::parse(name).is_ok()
}

/// Makes the skim directory: apps without privileges must be able to pass through it.
fn create_top(skim_dir: &Path) -> std::io::Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    if let Some(parent) = skim_dir.parent() {
        // A user's directories are the user's alone (XDG Base Directory Specification).
        let mode = if is_root { 0o777 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(skim_dir) {
        // mkdir(2) would subtract the umask.
        Ok(()) if is_root => fs::set_permissions(skim_dir, Permissions::from_mode(0o711)),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "store/upkeep_tests.rs"]
mod upkeep_tests;
