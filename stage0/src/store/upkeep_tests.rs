//! Removal, verification, export and extraction, on images that are imported for it.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tempfile::TempDir;

use super::garbage::Scope;
use super::*;
use crate::image::limits::Limits;
use crate::image::oci::fixture::{self, Layout};
use crate::image::oci::{Layer, OciImage, OciName, archive, layout};
use crate::image::testing::{self, Archive, message};
use crate::pod::directory::Pods;
use crate::pod::uses::Uses;
use crate::progress::Silent;

struct Lab {
    dir: TempDir,
    store: Store,
}

fn import() -> Import<'static> {
    Import {
        limits: Limits::default(),
        progress: &Silent,
    }
}

/// An appc image with a file, a program to relocate and a link out of its root.
fn aci(name: &str, manifest: &str) -> Vec<u8> {
    Archive::empty()
        .file("manifest", manifest.as_bytes())
        .directory("rootfs")
        .directory("rootfs/bin")
        .file("rootfs/bin/sh", b"shell")
        .file("rootfs/name", name.as_bytes())
        .symlink("rootfs/link", "/bin/sh")
        .finish()
}

fn layer(path: &str, content: &[u8]) -> Vec<u8> {
    Archive::empty().file(path, content).finish()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
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

    fn aci(&self, name: &str, archive: &[u8]) -> Image {
        let origin = Origin {
            text: name.to_owned(),
            ..Origin::default()
        };
        let blob = testing::blob(archive);
        let imported = self.store.import_aci(&blob, &origin, import(), |_| Ok(()));
        imported.unwrap()
    }

    fn app(&self, name: &str) -> Image {
        self.aci(name, &aci(name, &testing::manifest(name, "1")))
    }

    /// Imports a layout of one image, which it writes.
    fn oci(&self, tag: &str, layers: &[&[u8]]) -> Image {
        let mut files = Layout::new();
        let image = files.add_image(layers);
        files.entry(image, &[(fixture::REF_NAME, tag)]);
        let directory = self.path(tag);
        files.write(&directory);
        let image = layout::open(&directory, None).unwrap();
        self.import_oci(&image)
    }

    fn import_oci(&self, image: &OciImage) -> Image {
        let imported = self
            .store
            .import_oci(image, &Origin::default(), import(), None, |_, _| Ok(()));
        imported.unwrap()
    }

    fn remove(&self, images: &[&Image], uses: &Uses, scope: Scope) -> Result<()> {
        let removal = self.store.removal()?;
        let going: Vec<_> = images
            .iter()
            .map(|image| image.id.directory().to_owned())
            .collect();
        let garbage = self.store.contents()?.garbage(uses, &going, scope);
        removal.remove(&garbage)
    }

    /// How many images, trees, archives and things under way there are.
    fn counts(&self) -> [usize; 4] {
        let count = |name: &str| {
            fs::read_dir(self.path("skim/images").join(name))
                .unwrap()
                .count()
        };
        let images = self.store.directories().unwrap().len();
        [images, count("trees"), count("blobs"), count("tmp")]
    }

    fn blob(&self, image: &Image) -> PathBuf {
        let name = blobs::file_name(&image.layers.last().unwrap().blob);
        self.path("skim/images/blobs").join(name)
    }

    fn export(&self, image: &Image) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        self.store.export(image, &mut output)?;
        Ok(output)
    }
}

#[test]
fn what_others_share_stays() {
    let lab = Lab::new();
    let base = layer("base", b"base");
    let one = lab.oci("one", &[&base, &layer("a", b"1")]);
    let two = lab.oci("two", &[&base, &layer("a", b"2")]);
    assert_eq!(lab.counts(), [2, 2, 3, 0]);
    let none = Uses::default();
    lab.remove(&[&one], &none, Scope::OfTheirs).unwrap();
    assert_eq!(lab.counts(), [1, 1, 2, 0]);
    assert!(lab.store.verify(&two, false, import()).unwrap().is_same());
    assert_eq!(lab.store.list().unwrap(), std::slice::from_ref(&two));
    lab.remove(&[&two], &none, Scope::OfTheirs).unwrap();
    assert_eq!(lab.counts(), [0, 0, 0, 0]);
}

#[test]
fn the_tree_of_a_pod_stays_and_what_cannot_be_read_is_kept() {
    let lab = Lab::new();
    let [one, two] = ["one", "two"].map(|name| lab.app(name));
    let pods = Pods::new(&lab.path("skim"));
    let pod = pods.create("6ba7b810-9dad-11d1-80b4-00c04fd430c8").unwrap();
    pod.fill(&crate::pod::uses::plan(&pod.uuid, &one.id, &one.tree))
        .unwrap();
    let uses = Uses::read(&pods).unwrap();
    assert_eq!(uses.of_image(&one.id), std::slice::from_ref(&pod.uuid));
    let all = Scope::All {
        until: SystemTime::now() + Duration::from_secs(60),
    };
    lab.remove(&[&one], &uses, all).unwrap();
    // With the tree stays what it is made of: an import of the image finds it whole.
    assert_eq!(lab.counts(), [1, 2, 2, 0]);
    assert_eq!(fs::read(one.tree.join("name")).unwrap(), b"one");
    let record = lab
        .path("skim/images")
        .join(two.id.directory())
        .join("image");
    fs::write(&record, "{").unwrap();
    lab.remove(&[], &Uses::default(), all).unwrap();
    assert_eq!(lab.counts(), [1, 2, 2, 0]);
    lab.remove(&[&two], &Uses::default(), all).unwrap();
    assert_eq!(lab.counts(), [0, 0, 0, 0]);
}

#[test]
fn images_expire_by_their_last_use() {
    let lab = Lab::new();
    let [one, two] = ["one", "two"].map(|name| lab.app(name));
    let hour = Duration::from_secs(3600);
    lab.store.note_use(&two, SystemTime::now() + hour).unwrap();
    let contents = lab.store.contents().unwrap();
    let expired = |grace| contents.expired(&Uses::default(), grace, SystemTime::now() + 2 * hour);
    assert_eq!(expired(3 * hour / 2), [one.id.directory()]);
    assert_eq!(expired(hour / 2).len(), 2);
}

/// Needs root; without it the mount fails and so does the test.
#[test]
fn mounts_keep_everything_where_it_is() {
    let lab = Lab::new();
    let image = lab.app("one");
    fs::create_dir(lab.path("outside")).unwrap();
    fs::write(lab.path("outside/f"), "x").unwrap();
    let point = image.tree.join("bin");
    mount_bind(lab.path("outside"), &point).expect("mounts need root");
    let removed = lab.remove(&[&image], &Uses::default(), Scope::OfTheirs);
    let verified = lab.store.verify(&image, true, import());
    unmount(&point, UnmountFlags::DETACH).unwrap();
    assert!(message(removed).contains("unmount it first"));
    assert!(message(verified).contains("mounted at /bin"));
    assert_eq!(lab.counts(), [1, 1, 1, 0]);
    assert_eq!(fs::read(lab.path("outside/f")).unwrap(), b"x");
    lab.remove(&[&image], &Uses::default(), Scope::OfTheirs)
        .unwrap();
    assert_eq!(lab.counts(), [0, 0, 0, 0]);
}

#[test]
fn nobody_brings_images_while_they_are_taken_away() {
    let lab = Lab::new();
    let try_lock = |operation| {
        let file = fs::File::options()
            .write(true)
            .open(lab.path("skim/images/lock"))
            .unwrap();
        flock(&file, operation)
    };
    let hold = lab.store.hold().unwrap();
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    assert_eq!(try_lock(exclusive), Err(Errno::WOULDBLOCK));
    drop(hold);
    let removal = lab.store.removal().unwrap();
    let shared = FlockOperation::NonBlockingLockShared;
    assert_eq!(try_lock(shared), Err(Errno::WOULDBLOCK));
    removal.remove(&Default::default()).unwrap();
    assert_eq!(try_lock(exclusive), Ok(()));
    // One that is given up leaves nothing either.
    drop(lab.store.removal().unwrap());
    assert_eq!(lab.counts(), [0, 0, 0, 0]);
    assert_eq!(try_lock(exclusive), Ok(()));
}

#[test]
fn changes_of_a_tree_are_found_and_repaired() {
    let lab = Lab::new();
    for image in [lab.app("one"), lab.oci("two", &[&layer("name", b"two")])] {
        let verify = |repair| lab.store.verify(&image, repair, import());
        assert!(verify(false).unwrap().is_same());
        fs::write(image.tree.join("name"), "changed").unwrap();
        fs::write(image.tree.join("added"), "").unwrap();
        assert_eq!(verify(false).unwrap().total, 2);
        assert_eq!(verify(true).unwrap().total, 2);
        assert!(verify(false).unwrap().is_same());
        fs::remove_file(image.tree.join("name")).unwrap();
        assert_eq!(
            verify(true).unwrap().differences[0].to_string(),
            "missing /name"
        );
        assert!(image.tree.join("name").exists());
    }
    assert_eq!(lab.counts()[3], 0);
}

#[test]
fn archives_that_are_damaged_or_missing_are_told() {
    let lab = Lab::new();
    for image in [lab.app("one"), lab.oci("two", &[&layer("name", b"two")])] {
        let blob = lab.blob(&image);
        let mut content = fs::read(&blob).unwrap();
        let at = content.len() - 1025;
        content[at] ^= 1;
        fs::write(&blob, &content).unwrap();
        let check = |what: &str| {
            for text in [
                message(lab.store.verify(&image, true, import())),
                message(lab.export(&image)),
            ] {
                assert!(text.contains(what), "{text}");
            }
        };
        check("damaged");
        fs::remove_file(&blob).unwrap();
        check("missing from the store");
        assert!(image.tree.join("name").exists());
    }
    assert_eq!(lab.counts()[3], 0);
}

#[test]
fn exported_images_are_the_same_images() {
    let lab = Lab::new();
    let plain = aci("one", &testing::manifest("one", "1"));
    let image = lab.aci("one", &gzip(&plain));
    assert_eq!(lab.export(&image).unwrap(), plain);

    let image = lab.oci(
        "two",
        &[&layer("name", b"two"), &layer("x", b""), &layer("x", b"")],
    );
    let exported = lab.export(&image).unwrap();
    assert_eq!(lab.export(&image).unwrap(), exported);
    let again = Lab::new();
    let found = archive::oci_image(&testing::blob(&exported), Some("two"), "x").unwrap();
    assert_eq!(again.import_oci(&found).id, image.id);
}

#[test]
fn an_image_of_docker_save_is_exported_as_one() {
    let lab = Lab::new();
    let one = layer("name", b"one");
    let layer = Layer {
        digest: None,
        diff_id: Sha256::of(&one),
        blob: testing::blob(&one),
    };
    let source = OciImage {
        manifest: None,
        config: fixture::config(&[&one, &one]).to_string().into_bytes(),
        names: vec![OciName {
            name: "docker.io/library/app".to_owned(),
            tag: Some("2".to_owned()),
        }],
        layers: vec![layer.clone(), layer],
    };
    let image = lab.import_oci(&source);
    assert_eq!(Form::of(&image), Form::DockerArchive);
    let exported = testing::blob(&lab.export(&image).unwrap());
    let found = archive::docker_image(&exported, None, "x").unwrap();
    assert_eq!(found.config, source.config);
    let again = Lab::new().import_oci(&found);
    assert_eq!((&again.id, &again.names), (&image.id, &image.names));
}

#[test]
fn extracted_files_are_as_they_were_made() {
    let lab = Lab::new();
    let base = lab.app("example.com/base");
    assert_eq!(
        fs::read_link(base.tree.join("link")).unwrap(),
        Path::new("bin/sh")
    );
    let manifest = testing::manifest("example.com/top", "1");
    let manifest = manifest.replacen(
        '{',
        r#"{"dependencies":[{"imageName":"example.com/base"}],"pathWhitelist":["/name","/link","/top"],"#,
        1,
    );
    let top = Archive::empty()
        .file("manifest", manifest.as_bytes())
        .directory("rootfs")
        .file("rootfs/top", b"top")
        .file("rootfs/other", b"other")
        .finish();
    let top = lab.aci("top", &top);
    let extract = |image: &Image, whole, name: &str| {
        let path = lab.path(name);
        fs::create_dir(&path).unwrap();
        let dir = fs::File::open(&path).unwrap();
        lab.store
            .extract(image, whole, dir.as_fd(), import())
            .unwrap();
        let entries = fs::read_dir(path.join("rootfs")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            fs::read(path.join("manifest")).unwrap(),
            image.documents.manifest.clone().unwrap()
        );
        names
    };
    assert_eq!(extract(&base, false, "1"), ["bin", "link", "name"]);
    assert_eq!(
        fs::read_link(lab.path("1/rootfs/link")).unwrap(),
        Path::new("/bin/sh")
    );
    assert_eq!(extract(&top, false, "2"), ["other", "top"]);
    assert_eq!(extract(&top, true, "3"), ["link", "name", "top"]);
    assert!(lab.store.verify(&top, false, import()).unwrap().is_same());
    // What an image builds upon is kept with it.
    lab.remove(&[&base], &Uses::default(), Scope::OfTheirs)
        .unwrap();
    assert!(lab.store.verify(&top, false, import()).unwrap().is_same());
}
