//! What rkt's own functional tests of images ask for, each under the name of rkt's, adapted where
//! skim means something else: then its comment says how.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::command::skim;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::gc;
use crate::support::store::{Store, assert_one_line};
use crate::support::trace::STATE;

/// The names of the trees in the store.
fn trees() -> Vec<String> {
    let entries = fs::read_dir(format!("{STATE}/images/trees")).expect("the trees can be listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The tree of an image in the store.
fn tree_of(id: &str) -> String {
    let inspected = skim(["image", "inspect", id]).success().stdout;
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let path = inspected[0]["tree"].as_str().expect("an image has a tree");
    let key = Path::new(path).parent().and_then(Path::file_name);
    let key = key.expect("it lies in the store");
    key.to_string_lossy().into_owned()
}

#[track_caller]
fn fetch(image: &Path) -> String {
    skim(["fetch".as_ref(), "--full".as_ref(), image.as_os_str()]).line()
}

#[track_caller]
fn prepare(image: &Path) -> String {
    skim(["prepare".as_ref(), "--quiet".as_ref(), image.as_os_str()]).line()
}

/// An image of a pod that is prepared is removed from the store, as far as names go; the pod
/// runs. skim asks for `--force` there, as Docker does.
#[test]
fn rkt_image_rm() {
    let host = Host::new();
    let image = Image::busybox(&host, "removed")
        .exec(&["/bin/echo", "still here"])
        .build();
    let id = fetch(&image);
    let uuid = prepare(&image);
    assert_one_line(&skim(["image", "rm", &id]), &uuid[..8]);
    skim(["image", "rm", "--force", &id]).success();
    assert_one_line(&skim(["image", "cat-manifest", &id]), "no image IDs found");
    assert_eq!(
        skim(["run-prepared", &uuid]).success().stdout,
        "still here\n"
    );
    gc();
    skim(["image", "gc"]).success();
    let left = skim(["image", "list", "--no-legend", "--full"])
        .success()
        .stdout;
    assert!(!left.contains(&id), "{left}");
}

/// A file of the tree is deleted: verify sees it. rkt mends it at once; skim with `--repair`.
#[test]
fn rkt_image_verify() {
    let host = Host::new();
    let store = Store::new(&host, "verify");
    let image = Image::busybox(&host, "verified")
        .file("etc/lost", "found", 0o644)
        .build();
    let id = store.fetch([&image]);
    store.skim(["image", "verify", &id]).success();
    let file = store.tree_path(&id).join("etc/lost");
    fs::remove_file(&file).expect("cannot remove a file of the tree");
    assert_eq!(store.skim(["image", "verify", &id]).code, Some(254));
    store.skim(["image", "verify", "--repair", &id]).success();
    assert_eq!(
        fs::read_to_string(&file).expect("it is there again"),
        "found"
    );
    store.skim(["image", "verify", &id]).success();
}

/// The tree of an image that a pod needs stays until the pod is gone.
#[test]
fn rkt_image_gc() {
    let host = Host::new();
    let image = Image::busybox(&host, "collected").build();
    let (id, uuid) = (fetch(&image), prepare(&image));
    let tree = tree_of(&id);
    skim(["image", "rm", "--force", &id]).success();
    skim(["image", "gc", "--grace-period=0s"]).success();
    assert!(
        trees().contains(&tree),
        "the tree of a prepared pod was collected"
    );
    skim(["run-prepared", &uuid]).success();
    skim(["image", "gc", "--grace-period=0s"]).success();
    assert!(
        trees().contains(&tree),
        "the tree of an exited pod was collected"
    );
    gc();
    skim(["image", "gc", "--grace-period=0s"]).success();
    assert!(!trees().contains(&tree), "the tree is of no use any more");
}

/// IDs may be shortened to two digits, if they are told apart by them; the size counts the tree.
#[test]
fn rkt_image_list() {
    let host = Host::new();
    let store = Store::new(&host, "list");
    let image = Image::busybox(&host, "listed").build();
    let id = store.fetch([&image]);
    for (digits, is_found) in [(1, false), (2, true), (12, true)] {
        let short = &id[.."sha512-".len() + digits];
        let found = store.skim(["image", "cat-manifest", short]);
        match is_found {
            true => assert!(found.success().stdout.contains("example.com/listed")),
            false => assert_one_line(&found, "is too short"),
        }
    }
    let size = store.listed(&id)["size"]
        .as_u64()
        .expect("a size is a number");
    let archive = fs::metadata(&image).expect("it is there").len();
    let busybox = fs::metadata(store.tree_path(&id).join("bin/busybox")).expect("it is there");
    assert!(size > archive && size > busybox.len(), "{size}");
    assert_one_line(
        &store.skim(["image", "cat-manifest", "sha512-00ff"]),
        "no image IDs found",
    );
}

/// The labels os and arch are asked for when a pod is made; skim compares arch with the host's.
#[test]
fn rkt_os_arch() {
    let host = Host::new();
    let (here, elsewhere) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", "aarch64"),
        arch => (arch, "amd64"),
    };
    let image = |name: &str, labels: &[(&str, &str)]| -> PathBuf {
        let image = Image::busybox(&host, name);
        let mut manifest = image.manifest();
        let labels = labels
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}));
        manifest["labels"] = labels.collect();
        image.build_with(&manifest.to_string(), &["manifest", "rootfs"])
    };
    skim([
        "run".into(),
        image("good", &[("os", "linux"), ("arch", here)]).into_os_string(),
    ])
    .success();
    for (name, labels, says) in [
        (
            "no-os",
            &[("arch", here)][..],
            "missing os label in the image manifest",
        ),
        (
            "no-arch",
            &[("os", "linux")],
            "missing arch label in the image manifest",
        ),
        (
            "bad-os",
            &[("os", "freebsd"), ("arch", here)],
            "bad os \"freebsd\" (must be one of: [linux])",
        ),
        (
            "bad-arch",
            &[("os", "linux"), ("arch", "x86_64")],
            "bad arch \"x86_64\"",
        ),
        (
            "foreign",
            &[("os", "linux"), ("arch", elsewhere)],
            "take the image built for this host",
        ),
    ] {
        let image = image(name, labels);
        for verb in ["run", "prepare"] {
            let outcome = skim([verb.as_ref(), "--quiet".as_ref(), image.as_os_str()]);
            assert_one_line(&outcome, says);
        }
    }
}

/// A graph of dependencies, as rkt's: `a` needs `b` and `c`, both need `d`. What comes later, and
/// the image itself last, lies over what comes before. skim looks in its store only.
#[test]
fn rkt_image_dependencies() {
    let host = Host::new();
    let store = Store::new(&host, "dag");
    let image = |name: &str, below: &[&str]| -> PathBuf {
        let mut image = match below {
            [] => Image::busybox(&host, name),
            _ => Image::empty(&host, name),
        };
        for file in ["a", "b", "c", "d"]
            .iter()
            .skip_while(|file| **file != name)
        {
            image = image.file(&format!("etc/{file}"), name, 0o644);
        }
        image = image.file("etc/last", name, 0o644).exec(&[
            "/bin/sh",
            "-c",
            "cat $SKIM_ROOTFS/etc/last",
        ]);
        let mut manifest = image.manifest();
        let below = below
            .iter()
            .map(|name| json!({"imageName": format!("example.com/{name}")}));
        manifest["dependencies"] = below.collect();
        image.build_with(&manifest.to_string(), &["manifest", "rootfs"])
    };
    let [d, c, b, a] = [
        image("d", &[]),
        image("c", &["d"]),
        image("b", &["d"]),
        image("a", &["b", "c"]),
    ];
    store.refuse("example.com/b", [&a]);
    for image in [&d, &c, &b] {
        store.fetch([image]);
    }
    let tree = store.tree_path(&store.fetch([&a]));
    let read = |file: &str| fs::read_to_string(tree.join("etc").join(file)).expect("it is there");
    // `a` has all four, and is the last.
    assert_eq!(["a", "b", "c", "d", "last"].map(read), ["a"; 5]);
    let ran = store.skim(["run".as_ref(), a.as_os_str()]).success();
    assert_eq!(ran.stdout, "a\n");
    store.skim(["gc"]).success();
}
