//! `skim image list`: the images that there are.

use std::time::SystemTime;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use stage1_skim::stdio;

use crate::cli::Format;
use crate::commands::output;
use crate::store::{Image, Store};

const HELP: &str = "\
Examples:
  skim image list
  skim image list --full                    whole IDs, origins, digests, times
  skim image list --sort=size --order=desc  the largest first
  skim image list --fields=name,digest --no-legend
  skim image list --format=json";

/// Arguments of `skim image list`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct ListArguments {
    /// Print whole IDs, sizes in bytes, times to the millisecond, and where images come from
    #[arg(long)]
    pub full: bool,
    /// The columns, separated by commas [default: id to lastused; with --full: id to digest]
    #[arg(long, value_enum, value_name = "FIELD,…", value_delimiter = ',')]
    pub fields: Vec<Field>,
    /// What to sort by
    #[arg(long, value_enum, value_name = "FIELD", default_value_t)]
    pub sort: Sort,
    /// How to sort
    #[arg(long, value_enum, default_value_t)]
    pub order: Order,
    /// Leave out the line of headings
    #[arg(long)]
    pub no_legend: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Field {
    /// The image's ID.
    Id,
    /// The name and version that it was imported by last.
    Name,
    /// The bytes that it takes: its archives, and its files.
    Size,
    /// When it was imported last.
    #[value(name = "importtime")]
    ImportTime,
    /// When a pod was made of it last.
    #[value(name = "lastused")]
    LastUsed,
    /// Where it came from.
    Origin,
    /// The digest that it is known by where it came from.
    Digest,
    /// Where it is unpacked.
    Tree,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    #[default]
    #[value(name = "importtime")]
    ImportTime,
    #[value(name = "lastused")]
    LastUsed,
    Name,
    Size,
}

/// How to sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    #[default]
    Asc,
    Desc,
}

/// An image as JSON. Times are in nanoseconds since the epoch, sizes in bytes.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: &'a str,
    name: &'a str,
    version: Option<&'a str>,
    names: Vec<String>,
    origin: &'a str,
    digest: String,
    tree: String,
    import_time: Option<i64>,
    last_used_time: Option<i64>,
    size: u64,
}

/// Prints the images.
///
/// # Errors
/// Where the store cannot be read.
pub fn run(store: &Store, arguments: &ListArguments) -> Result<u8> {
    let mut images = store.list()?;
    sort(&mut images, arguments);
    match arguments.format {
        Format::Json => {
            let images: Vec<_> = images.iter().map(entry).collect();
            stdio::print(&format!("{}\n", serde_json::to_string(&images)?))?;
        }
        Format::Text => stdio::print(&text(&images, arguments, SystemTime::now()))?,
    }
    Ok(0)
}

/// Sorts images, those that are equal by the time of their import.
fn sort(images: &mut [Image], arguments: &ListArguments) {
    match arguments.sort {
        Sort::ImportTime => (),
        Sort::LastUsed => images.sort_by_key(|image| image.last_used),
        Sort::Name => images.sort_by(|a, b| name_of(a).cmp(&name_of(b))),
        Sort::Size => images.sort_by_key(|image| image.size),
    }
    if arguments.order == Order::Desc {
        images.reverse();
    }
}

fn name_of(image: &Image) -> (&str, Option<&str>) {
    (image.name(), image.version())
}

fn entry(image: &Image) -> Entry<'_> {
    Entry {
        id: image.id.as_str(),
        name: image.name(),
        version: image.version(),
        names: image.names.iter().map(ToString::to_string).collect(),
        origin: &image.origin,
        digest: image.known_digest(),
        tree: image.tree.display().to_string(),
        import_time: output::nanoseconds(image.imported),
        last_used_time: image.last_used.and_then(output::nanoseconds),
        size: image.size,
    }
}

/// The table. Pure.
fn text(images: &[Image], arguments: &ListArguments, now: SystemTime) -> String {
    use Field::{Digest, Id, ImportTime, LastUsed, Name, Origin, Size};
    let fields = match (&arguments.fields[..], arguments.full) {
        ([], false) => &[Id, Name, Size, ImportTime, LastUsed][..],
        ([], true) => &[Id, Name, Size, ImportTime, LastUsed, Origin, Digest],
        (fields, _) => fields,
    };
    let mut rows = Vec::new();
    if !arguments.no_legend {
        rows.push(
            fields
                .iter()
                .map(|field| heading(*field).to_owned())
                .collect(),
        );
    }
    for image in images {
        let cells = fields
            .iter()
            .map(|field| cell(image, *field, arguments.full, now));
        rows.push(cells.collect());
    }
    output::table(&rows)
}

fn heading(field: Field) -> &'static str {
    match field {
        Field::Id => "ID",
        Field::Name => "NAME",
        Field::Size => "SIZE",
        Field::ImportTime => "IMPORT TIME",
        Field::LastUsed => "LAST USED",
        Field::Origin => "ORIGIN",
        Field::Digest => "DIGEST",
        Field::Tree => "TREE",
    }
}

fn cell(image: &Image, field: Field, full: bool, now: SystemTime) -> String {
    let time = |time| match full {
        true => output::absolute(time),
        false => output::ago(time, now),
    };
    match field {
        Field::Id if full => image.id.to_string(),
        Field::Id => image.id.short().to_owned(),
        Field::Name => image
            .names
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
        Field::Size if full => image.size.to_string(),
        Field::Size => output::size(image.size),
        Field::ImportTime => time(image.imported),
        Field::LastUsed => image.last_used.map_or_else(|| "never".to_owned(), time),
        Field::Origin => output::printable(&image.origin),
        Field::Digest => image.known_digest(),
        Field::Tree => output::printable(&image.tree.to_string_lossy()),
    }
}

/// An appc image for tests: its ID is of one byte, which also tells when it was imported.
#[cfg(test)]
pub fn sample(name: &str, byte: u8, size: u64) -> Image {
    use crate::image::blob::Sha256;
    use crate::image::id::ImageId;
    use crate::image::manifest::ImageManifest;
    use crate::store::{Documents, ImageName, LayerContent, LayerRecord, TreeKey};
    let json = crate::image::testing::manifest(name, "1").into_bytes();
    let id = ImageId::from_digest(&[byte; 64]);
    let since = [0, 1, 60, 61][usize::from(byte)];
    Image {
        names: vec![ImageName {
            name: name.to_owned(),
            version: Some("1".to_owned()),
        }],
        manifest: ImageManifest::parse(&json).unwrap(),
        documents: Documents {
            manifest: Some(json),
            config: None,
        },
        key: TreeKey::of_image(&id),
        tree: format!("/t/{byte}").into(),
        layers: vec![LayerRecord {
            blob: Sha256::of(&[byte]),
            blob_size: size / 2,
            content: LayerContent::Image(id.clone()),
            size: size - size / 2,
            whitelists: Vec::new(),
        }],
        origin: "/a.aci".to_owned(),
        digest: None,
        validators: None,
        signature: None,
        imported: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since),
        last_used: None,
        size,
        left_out: Default::default(),
        id,
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
