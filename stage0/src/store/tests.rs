use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Barrier;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::garbage::Scope;
use super::index::Fingerprint;
use super::*;
use crate::fetch::testing;
use crate::image::reference::Reference;
use crate::image::testing::{Archive, manifest, message};
use crate::pod::uses::Uses;

/// A skim directory and files beside it.
struct Lab {
    dir: TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("skim")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes an image with one file.
    fn image(&self, file: &str, name: &str, version: &str, content: &[u8]) -> PathBuf {
        let archive = image(name, version, content);
        self.write(file, &archive)
    }

    fn write(&self, file: &str, content: &[u8]) -> PathBuf {
        let path = self.path(file);
        fs::write(&path, content).unwrap();
        path
    }

    fn fetch(&self, path: &Path) -> Result<Image> {
        fetch(&self.store, &Reference::File(path.to_owned()))
    }

    fn by_name(&self, name: &str) -> Result<Image> {
        fetch(&self.store, &Reference::parse(name).unwrap())
    }

    fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path("skim/images").join(name)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Nothing is in the store, not even a piece of an image.
    fn assert_empty(&self) {
        assert_eq!(self.images(), [""; 0]);
        for directory in ["blobs", "files", "partial", "tmp", "trees"] {
            assert_eq!(self.list(directory), [""; 0], "{directory}");
        }
    }

    /// The directories of images.
    fn images(&self) -> Vec<String> {
        let mut names = self.list("");
        names.retain(|name| is_image_directory(name));
        names
    }
}

/// Fetches without a network, a policy or keys.
fn fetch(store: &Store, reference: &Reference) -> Result<Image> {
    testing::fetch(store, Path::new("/nonexistent"), None, reference)
}

/// What must be the same whenever an image is imported again.
fn lasting(image: &Image) -> (&ImageId, &Path, &ImageManifest) {
    (&image.id, &image.tree, &image.manifest)
}

fn image(name: &str, version: &str, content: &[u8]) -> Vec<u8> {
    Archive::empty()
        .file("manifest", manifest(name, version).as_bytes())
        .directory("rootfs")
        .file("rootfs/file", content)
        .finish()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn imported_image_is_whole() {
    let lab = Lab::new();
    let path = lab.image("a.aci", "example.com/app", "1.2", b"content");
    let image = lab.fetch(&path).unwrap();
    assert_eq!(
        (image.name(), image.version()),
        ("example.com/app", Some("1.2"))
    );
    // The archive that is kept, and what it was unpacked to.
    assert_eq!(image.size, 2 * fs::metadata(&path).unwrap().len());
    assert_eq!(image.origin, path.to_str().unwrap());
    assert!(image.tree.is_absolute());
    assert_eq!(fs::read(image.tree.join("file")).unwrap(), b"content");
    assert_eq!(fs::metadata(&image.tree).unwrap().mtime(), 1_600_000_000);
    assert_eq!(lab.store.relocations(&image).unwrap(), Report::default());
    let directory = image.tree.parent().unwrap();
    let images = lab.path("skim/images");
    assert_eq!(directory, images.join("trees").join(image.id.directory()));
    let record = images.join(image.id.directory());
    let kept = fs::read_to_string(record.join("manifest")).unwrap();
    assert_eq!(kept, manifest("example.com/app", "1.2"));
    let blob = images.join("blobs").join(&lab.list("blobs")[0]);
    assert_eq!(fs::read(&blob).unwrap(), fs::read(&path).unwrap());
    assert_eq!(mode(&record), 0o755);
    assert_eq!(
        (mode(&lab.path("skim")), mode(&lab.path("skim/images"))),
        (0o711, 0o711)
    );
    assert_eq!((mode(directory), mode(&image.tree)), (0o755, 0o755));
    assert_eq!(mode(&images.join("trees")), 0o711);
    for private in ["blobs", "files", "partial", "tmp"] {
        assert_eq!(mode(&images.join(private)), 0o700, "{private}");
    }
    assert!(lab.list("tmp").is_empty());
}

#[test]
fn same_image_is_one_tree_whatever_the_file() {
    let lab = Lab::new();
    let first = lab.fetch(&lab.image("a.aci", "a", "1", b"x")).unwrap();
    let inode = fs::metadata(&first.tree).unwrap().ino();
    let again = lab.fetch(&lab.image("b.aci", "a", "1", b"x")).unwrap();
    assert_eq!(lasting(&again), lasting(&first));
    assert!(again.origin.ends_with("b.aci") && again.imported > first.imported);
    assert_eq!(fs::metadata(&first.tree).unwrap().ino(), inode);
    assert_eq!(lab.store.list().unwrap(), [again]);
    assert_eq!((lab.list("trees").len(), lab.list("blobs").len()), (1, 1));
    assert!(lab.list("tmp").is_empty());
}

#[test]
fn known_file_is_not_read_again_until_it_changes() {
    let lab = Lab::new();
    let image = lab.fetch(&lab.image("a.aci", "a", "1", b"x")).unwrap();
    // A file that is no image, and which the index takes for one: if it were read, that
    // would be an error.
    let path = lab.write("b.aci", b"no image");
    let note = |began| {
        let stat = rustix::fs::stat(&path).unwrap();
        index::note(
            lab.store.files.as_fd(),
            Fingerprint::of(&stat),
            "",
            began,
            image.id.clone(),
        )
    };
    note(SystemTime::now()).unwrap();
    message(lab.fetch(&path));
    note(SystemTime::now() + Duration::from_secs(60)).unwrap();
    assert_eq!(lab.fetch(&path).unwrap(), image);
    fs::write(&path, b"NO IMAGE").unwrap();
    message(lab.fetch(&path));
    note(SystemTime::now() + Duration::from_secs(60)).unwrap();
    fs::remove_dir_all(image.tree.parent().unwrap()).unwrap();
    message(lab.fetch(&path));
}

#[test]
fn imports_at_once_end_with_one_tree() {
    let lab = Lab::new();
    let path = lab.image("a.aci", "a", "1", &[7; 100_000]);
    let barrier = Barrier::new(8);
    let images: Vec<Image> = std::thread::scope(|scope| {
        let import = || {
            let store = Store::open(&lab.path("skim")).unwrap();
            barrier.wait();
            fetch(&store, &Reference::File(path.clone())).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(import)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        images
            .iter()
            .all(|image| lasting(image) == lasting(&images[0]))
    );
    assert_eq!(lab.images(), [images[0].id.directory()]);
    assert_eq!((lab.list("trees").len(), lab.list("blobs").len()), (1, 1));
    assert!(lab.list("tmp").is_empty());
}

#[test]
fn failed_imports_leave_nothing() {
    let lab = Lab::new();
    let whole = image("a", "1", &[1; 5000]);
    let files: [(&str, &[u8]); 4] = [
        ("empty.aci", b""),
        ("text.aci", b"#!/bin/sh\n"),
        ("cut.aci", &whole[..whole.len() - 2048]),
        ("none.aci", &Archive::empty().file("rootfs/a", b"").finish()),
    ];
    for (name, content) in files {
        let path = lab.write(name, content);
        let text = message(lab.fetch(&path));
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        lab.assert_empty();
    }
    let evil = Archive::new()
        .symlink("rootfs/l", "../../../..")
        .file("rootfs/l/evil", b"x");
    message(lab.fetch(&lab.write("evil.aci", &evil.finish())));
    assert!(!lab.path("evil").exists());
    lab.assert_empty();
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let lab = Lab::new();
    let fifo = lab.path("fifo.aci");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RWXU).unwrap();
    assert!(message(lab.fetch(&fifo)).contains("no regular file"));
    assert!(message(lab.fetch(lab.dir.path())).contains("without an OCI image layout"));
    let text = message(lab.fetch(&lab.path("missing.aci")));
    assert!(
        text.contains("missing.aci") && text.contains("No such file"),
        "{text}"
    );
}

#[test]
fn what_dead_imports_left_is_swept_and_living_ones_stay() {
    let lab = Lab::new();
    let tmp = lab.path("skim/images/tmp");
    fs::create_dir_all(tmp.join("dead/rootfs/a")).unwrap();
    fs::write(tmp.join("file"), "x").unwrap();
    symlink("/etc", tmp.join("link")).unwrap();
    fs::create_dir(tmp.join("alive")).unwrap();
    let alive = OwnedFd::from(fs::File::open(tmp.join("alive")).unwrap());
    flock(&alive, FlockOperation::LockExclusive).unwrap();
    lab.fetch(&lab.image("a.aci", "a", "1", b"x")).unwrap();
    assert_eq!(lab.list("tmp"), ["alive"]);
}

#[test]
fn images_are_found_by_name_and_the_newest_counts() {
    let lab = Lab::new();
    let old = lab
        .fetch(&lab.image("1.aci", "example.com/app", "1", b"x"))
        .unwrap();
    let new = lab
        .fetch(&lab.image("2.aci", "example.com/app", "2", b"x"))
        .unwrap();
    lab.fetch(&lab.image("3.aci", "example.com/other", "3", b"x"))
        .unwrap();
    assert_eq!(lab.by_name("example.com/app").unwrap(), new);
    assert_eq!(lab.by_name("example.com/app:1").unwrap(), old);
    assert!(message(lab.by_name("example.com/app:3")).contains("no image example.com/app:3"));
    assert!(message(lab.by_name("absent")).contains("no image absent"));
    assert_eq!(lab.store.list().unwrap().len(), 3);
    // No image of this name, but a file beneath the working directory of the tests.
    assert!(message(lab.by_name("src/main.rs")).contains("cannot import src/main.rs"));
}

#[test]
fn images_are_found_by_unique_id() {
    let lab = Lab::new();
    let id_of = |archive: &[u8]| {
        let digest: [u8; 64] =
            sha2::Digest::finalize(<sha2::Sha512 as sha2::Digest>::new_with_prefix(archive)).into();
        ImageId::from_digest(&digest)
    };
    let first = image("a", "1", b"0");
    let start = &id_of(&first).as_str()[..9].to_owned();
    let second = (1..)
        .map(|number: u32| image("a", "1", number.to_string().as_bytes()))
        .find(|archive| id_of(archive).as_str().starts_with(start))
        .unwrap();
    let first = lab.fetch(&lab.write("1.aci", &first)).unwrap();
    let second = lab.fetch(&lab.write("2.aci", &second)).unwrap();
    let get = |prefix: &str| lab.store.get(&IdPrefix::parse(prefix).unwrap());
    assert!(message(get(start)).contains("ambiguous image ID: 2 images"));
    for image in [&first, &second] {
        assert_eq!(get(image.id.as_str()).unwrap(), *image);
        assert_eq!(get(image.id.directory()).unwrap(), *image);
        assert_eq!(lab.by_name(image.id.short()).unwrap(), *image);
    }
    let absent = format!("{}{}", first.id.directory(), "0".repeat(64));
    assert!(message(get(&absent)).contains("no image IDs found"));
}

#[test]
fn odd_directory_names_work() {
    let lab = Lab::new();
    let odd = lab.path("a b,c;d=%ü\\\"'");
    symlink(&odd, lab.path("link")).unwrap();
    fs::create_dir(&odd).unwrap();
    let store = Store::open(&lab.path("link")).unwrap();
    let file = lab.image("a b:c,ü.aci", "a", "1", b"x");
    let image = fetch(&store, &Reference::File(file)).unwrap();
    assert!(image.tree.starts_with(odd.canonicalize().unwrap()));
    assert_eq!(fs::read(image.tree.join("file")).unwrap(), b"x");
}

#[test]
fn a_directory_that_no_search_path_can_name_is_refused() {
    let lab = Lab::new();
    let odd = lab.path("a:b");
    fs::create_dir(&odd).unwrap();
    let store = Store::open(&odd).unwrap();
    let file = lab.image("a.aci", "a", "1", b"x");
    let fetched = fetch(&store, &Reference::File(file));
    assert!(message(fetched).contains("choose another directory with --dir"));
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn store_that_others_could_write_to_is_refused() {
    let open = |change: fn(&Path)| {
        let lab = Lab::new();
        change(&lab.path("skim"));
        message(Store::open(&lab.path("skim")))
    };
    assert!(
        open(|dir| fs::set_permissions(dir, PermissionsExt::from_mode(0o777)).unwrap())
            .contains("by others")
    );
    assert!(
        open(|dir| {
            let tmp = dir.join("images/tmp");
            std::os::unix::fs::chown(tmp, Some(1234), None).unwrap();
        })
        .contains("by others")
    );
    open(|dir| {
        fs::rename(dir.join("images"), dir.join("elsewhere")).unwrap();
        symlink("elsewhere", dir.join("images")).unwrap();
    });
}

#[test]
fn store_that_was_moved_says_so() {
    let lab = Lab::new();
    let image = lab.fetch(&lab.image("a.aci", "a", "1", b"x")).unwrap();
    fs::rename(lab.path("skim"), lab.path("moved")).unwrap();
    let store = Store::open(&lab.path("moved")).unwrap();
    let text = message(store.get(&IdPrefix::parse(image.id.as_str()).unwrap()));
    assert!(text.contains("was made to run from"), "{text}");
    let file = Reference::File(lab.path("a.aci"));
    let text = message(fetch(&store, &file));
    assert!(text.contains("import it again"), "{text}");
    assert!(store.list().unwrap().is_empty());
}

/// Needs root, as imports do; without it the mount fails and so does the test.
#[test]
fn full_disk_is_told_and_nothing_is_left() {
    let lab = Lab::new();
    let small = lab.path("small");
    fs::create_dir(&small).unwrap();
    let options = c"size=1m,mode=0755";
    mount("none", &small, "tmpfs", MountFlags::empty(), options).expect("imports need root");
    let result = Store::open(&small.join("skim")).and_then(|store| {
        let file = lab.image("a.aci", "a", "1", &vec![1; 4 << 20]);
        let text = message(fetch(&store, &Reference::File(file)));
        let used = |dir: BorrowedFd<'_>| directory::names(dir).map(|names| names.len());
        Ok((text, used(store.tmp.as_fd())?, used(store.blobs.as_fd())?))
    });
    unmount(&small, UnmountFlags::DETACH).unwrap();
    let (text, in_tmp, in_blobs) = result.unwrap();
    assert!(text.contains("is full: free some space"), "{text}");
    assert_eq!((in_tmp, in_blobs), (0, 0));
}

/// Takes an image away.
fn remove(store: &Store, name: &str) -> Result<()> {
    let removal = store.removal()?;
    let contents = store.contents()?;
    let garbage = contents.garbage(&Uses::default(), &[name.to_owned()], Scope::OfTheirs);
    removal.remove(&garbage)
}

#[test]
fn a_damaged_tree_goes_with_its_image_and_is_imported_anew() {
    let lab = Lab::new();
    let path = lab.image("a.aci", "a", "1", b"x");
    let image = lab.fetch(&path).unwrap();
    fs::remove_dir_all(&image.tree).unwrap();
    assert_eq!(
        lab.store.contents().unwrap().damaged,
        [image.id.directory()]
    );
    let text = message(lab.fetch(&path));
    assert!(text.contains("skim image rm"), "{text}");
    remove(&lab.store, image.id.directory()).unwrap();
    assert_eq!((lab.list("trees").len(), lab.list("tmp").len()), (0, 0));
    assert_eq!(lab.fetch(&path).unwrap().id, image.id);
}

/// Needs root, as imports do.
#[test]
fn images_go_from_a_disk_without_room() {
    let lab = Lab::new();
    let small = lab.path("small");
    fs::create_dir(&small).unwrap();
    let options = c"size=1m,nr_inodes=64,mode=0755";
    mount("none", &small, "tmpfs", MountFlags::empty(), options).expect("imports need root");
    let result = Store::open(&small.join("skim")).and_then(|store| {
        let file = lab.image("a.aci", "a", "1", b"x");
        let image = fetch(&store, &Reference::File(file))?;
        let full = (0..64).any(|number| fs::write(small.join(number.to_string()), "").is_err());
        assert!(full);
        remove(&store, image.id.directory())?;
        let names = |dir: BorrowedFd<'_>| directory::names(dir).map(|names| names.len());
        let left = [&store.tmp, &store.trees, &store.blobs].map(|dir| names(dir.as_fd()));
        Ok(left.map(Result::unwrap))
    });
    unmount(&small, UnmountFlags::DETACH).unwrap();
    assert_eq!(result.unwrap(), [0; 3]);
}
