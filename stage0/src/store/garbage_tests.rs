use super::*;
use crate::image::id::ImageId;
use crate::store::LayerContent;

const DAY: Duration = Duration::from_secs(86400);

fn at(days: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * days
}

fn key(name: u8) -> TreeKey {
    TreeKey::of_image(&ImageId::from_digest(&[name; 64]))
}

fn digest(name: &str) -> Sha256 {
    Sha256::of(name.as_bytes())
}

fn image(name: &str, tree: u8, blobs: &[&str], needed: u32) -> StoredImage {
    StoredImage {
        directory: name.to_owned(),
        tree: key(tree),
        blobs: blobs.iter().map(|blob| digest(blob)).collect(),
        needed: at(needed),
    }
}

fn tree(name: u8, layers: &[&str]) -> StoredTree {
    let layer = |name: &&str| LayerRecord {
        blob: digest(name),
        blob_size: 1,
        content: LayerContent::DiffId(digest(name)),
        size: 100,
        whitelists: Vec::new(),
    };
    StoredTree {
        key: key(name),
        path: format!("/trees/{name}").into(),
        layers: Some(layers.iter().map(layer).collect()),
    }
}

/// Two images that share the layer `base`, and a third one that shares the tree of the second,
/// with an archive of its own.
fn contents() -> Contents {
    Contents {
        images: vec![
            image("one", 1, &["base", "a"], 1),
            image("two", 2, &["base", "b"], 2),
            image("three", 2, &["base", "b.zst"], 3),
        ],
        damaged: Vec::new(),
        unknown: Vec::new(),
        trees: vec![tree(1, &["base", "a"]), tree(2, &["base", "b"])],
        blobs: ["base", "a", "b", "b.zst"]
            .map(|name| StoredBlob {
                digest: digest(name),
                size: 10,
                written: at(1),
            })
            .to_vec(),
    }
}

fn going(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// The trees and archives that go with these images.
fn gone(contents: &Contents, names: &[&str], scope: Scope) -> (Vec<TreeKey>, Vec<Sha256>) {
    let garbage = contents.garbage(&Uses::default(), &going(names), scope);
    assert_eq!(garbage.images, going(names));
    (garbage.trees, garbage.blobs)
}

#[test]
fn what_others_need_stays() {
    let all = Scope::All { until: at(9) };
    for scope in [Scope::OfTheirs, all] {
        let cases: [(&[&str], &[u8], &[&str]); 6] = [
            (&[], &[], &[]),
            (&["one"], &[1], &["a"]),
            (&["two"], &[], &[]),
            (&["three"], &[], &["b.zst"]),
            (&["two", "three"], &[2], &["b", "b.zst"]),
            (
                &["one", "two", "three"],
                &[1, 2],
                &["base", "a", "b", "b.zst"],
            ),
        ];
        for (images, trees, blobs) in cases {
            let trees = trees.iter().map(|name| key(*name)).collect();
            let blobs = blobs.iter().map(|name| digest(name)).collect();
            assert_eq!(
                gone(&contents(), images, scope),
                (trees, blobs),
                "{images:?}"
            );
        }
    }
    let garbage = contents().garbage(&Uses::default(), &going(&["one"]), Scope::OfTheirs);
    assert_eq!(garbage.bytes, 2 * 100 + 10);
}

#[test]
fn what_belongs_to_nothing_goes_when_everything_is_looked_at() {
    let mut contents = contents();
    contents.trees.push(tree(3, &["lost"]));
    for (name, written) in [("lost", 8), ("old", 4), ("young", 6)] {
        contents.blobs.push(StoredBlob {
            digest: digest(name),
            size: 1,
            written: at(written),
        });
    }
    let none = (Vec::new(), Vec::new());
    assert_eq!(gone(&contents, &[], Scope::OfTheirs), none);
    // An archive of a tree that goes is no download.
    let expected = (vec![key(3)], ["lost", "old"].map(digest).to_vec());
    assert_eq!(gone(&contents, &[], Scope::All { until: at(5) }), expected);
}

#[test]
fn what_is_not_known_to_be_idle_stays() {
    let all = Scope::All { until: at(9) };
    let none = (Vec::new(), Vec::new());
    let mut damaged = contents();
    damaged.unknown = going(&["four"]);
    assert_eq!(gone(&damaged, &["one"], all), none);
    // The damaged image itself may go, and then nothing is in doubt any more.
    assert_eq!(gone(&damaged, &["four"], all), none);
    assert_eq!(gone(&damaged, &["four", "one"], all).0, [key(1)]);
    // A tree that stays and cannot be read may be made of any archive.
    let mut unreadable = contents();
    unreadable.trees[1].layers = None;
    assert_eq!(gone(&unreadable, &["one"], all), (vec![key(1)], Vec::new()));
}

#[test]
fn old_images_expire() {
    let expired = |grace| contents().expired(&Uses::default(), DAY * grace, at(4));
    assert_eq!(expired(2), ["one", "two"]);
    assert_eq!(expired(0), ["one", "two", "three"]);
    assert_eq!(expired(4), [""; 0]);
    // A clock that was set back makes nothing old.
    assert_eq!(contents().expired(&Uses::default(), DAY, at(0)), [""; 0]);
}
