//! Random layers against a model of what they mean.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use proptest::prelude::*;

use super::model::{Item, Kind, Model, archive, item, join};
use crate::image::limits::Limits;
use crate::image::testing::{Cell, unpack_layers};

/// The tree that is there, as the model has it; files are numbered as they are met.
fn tree(root: &Path) -> BTreeMap<String, Kind> {
    let mut found = BTreeMap::new();
    let mut pending = vec![String::new()];
    let mut numbers = HashMap::new();
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let stat = std::fs::symlink_metadata(&full).unwrap();
        let kind = if stat.is_dir() {
            for entry in std::fs::read_dir(&full).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                pending.push(join(&path, &name));
            }
            let mut value = [0; 8];
            Kind::Directory {
                mode: stat.mode() & 0o7777,
                time: stat.mtime(),
                xattr: rustix::fs::lgetxattr(&full, "user.x", &mut value).is_ok(),
            }
        } else if stat.is_file() {
            let next = numbers.len();
            Kind::File {
                number: *numbers.entry(stat.ino()).or_insert(next),
                content: std::fs::read(&full).unwrap()[0],
            }
        } else if stat.is_symlink() {
            let target = std::fs::read_link(&full).unwrap();
            Kind::Symlink(target.into_os_string().into_string().unwrap())
        } else {
            assert!(stat.file_type().is_fifo());
            Kind::Fifo
        };
        found.insert(path, kind);
    }
    found
}

/// Numbers files by the order of their paths: which are one is all that counts.
fn renumber(mut tree: BTreeMap<String, Kind>) -> BTreeMap<String, Kind> {
    let mut numbers = HashMap::new();
    for kind in tree.values_mut() {
        if let Kind::File { number, .. } = kind {
            let next = numbers.len();
            *number = *numbers.entry(*number).or_insert(next);
        }
    }
    tree
}

/// What the model makes of layers; `None` if it refuses them.
fn expected(layers: &[Vec<Item>]) -> Option<Model> {
    let mut model = Model::new();
    for layer in layers {
        model.begin_layer();
        for item in layer {
            model.apply(item).ok()?;
        }
    }
    Some(model)
}

/// The layers without the entries that the model refuses.
fn accepted(layers: &[Vec<Item>]) -> Vec<Vec<Item>> {
    let mut model = Model::new();
    let mut result = Vec::new();
    for layer in layers {
        model.begin_layer();
        let mut kept = Vec::new();
        for item in layer {
            let mut next = model.clone();
            if next.apply(item).is_ok() {
                model = next;
                kept.push(item.clone());
            }
        }
        result.push(kept);
    }
    result
}

/// Unpacks layers, and compares with what the model says.
fn compare(layers: &[Vec<Item>]) {
    let cell = Cell::new();
    let archives: Vec<Vec<u8>> = layers.iter().map(|layer| archive(layer)).collect();
    let result = unpack_layers(&archives, &cell.root(), Limits::default());
    cell.check();
    match (result, expected(layers)) {
        (Ok(left_out), Some(model)) => {
            assert_eq!(renumber(tree(&cell.root())), renumber(model.tree()));
            assert_eq!(left_out.devices, model.left_out);
        }
        (Err(error), None) => assert!(!format!("{error:#}").contains('\n')),
        (Ok(_), None) => panic!("accepted, but the model refuses"),
        (Err(error), Some(_)) => panic!("{error:#}, but the model accepts"),
    }
}

fn layers() -> impl Strategy<Value = Vec<Vec<Item>>> {
    proptest::collection::vec(proptest::collection::vec(item(), 0..12), 1..=3)
}

proptest! {
    #[test]
    fn layers_mean_what_the_model_says(layers in layers()) {
        compare(&accepted(&layers));
    }

    #[test]
    fn layers_are_refused_where_the_model_refuses(layers in layers()) {
        compare(&layers);
    }

    /// Where nothing is a link, whiteouts count for what is below their layer, wherever in the
    /// layer they stand.
    #[test]
    fn the_order_of_whiteouts_does_not_count(layers in layers()) {
        let is_link = |item: &Item| matches!(item, Item::Symlink(..) | Item::HardLink(..));
        let mut layers = layers;
        for layer in &mut layers {
            let mut seen = Vec::new();
            layer.retain(|item| {
                let new = !item.is_mark() || !seen.contains(item);
                seen.push(item.clone());
                new && !is_link(item)
            });
        }
        let layers = accepted(&layers);
        let trees = [false, true].map(|first| {
            let cell = Cell::new();
            let archives: Vec<Vec<u8>> = layers.iter().map(|layer| {
                let (mut marks, mut others): (Vec<_>, Vec<_>) =
                    layer.iter().cloned().partition(Item::is_mark);
                match first {
                    true => marks.append(&mut others),
                    false => { others.append(&mut marks); marks = others; }
                }
                archive(&marks)
            }).collect();
            unpack_layers(&archives, &cell.root(), Limits::default()).unwrap();
            cell.check();
            renumber(tree(&cell.root()))
        });
        prop_assert_eq!(&trees[0], &trees[1]);
    }
}
