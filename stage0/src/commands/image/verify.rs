//! `skim image verify`: is what apps run from still what the images hold?

use anyhow::{Context, Result, bail};
use clap::Args;
use stage1_skim::stdio;

use crate::commands::output::for_each;
use crate::store::compare::Comparison;
use crate::store::{Image, Store};

const HELP: &str = "\
Examples:
  skim image verify                    all images
  skim image verify example.com/docker
  skim image verify --repair sha512-1a2b

Each image is unpacked once more from its archives, whose digests are checked, and compared
with its tree in the store: every file's type, mode, owner and content, links, and extended
attributes. Times do not count. The exit code is 254 where a tree differs and was not repaired.";

/// Arguments of `skim image verify`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct VerifyArguments {
    /// Put back what was changed or removed, and remove what was added
    #[arg(long)]
    pub repair: bool,
    /// The images' IDs, the beginnings of them, or names; all images by default
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Verifies the images.
///
/// # Errors
/// Where one differs and was not repaired, or cannot be verified; the others are.
pub fn run(store: &Store, arguments: &VerifyArguments) -> Result<u8> {
    if !arguments.images.is_empty() {
        return for_each(&arguments.images, |text| {
            verify(store, &super::find(store, text)?, arguments.repair)
        });
    }
    let code = for_each(&store.list()?, |image| {
        verify(store, image, arguments.repair)
    })?;
    let damaged = store.contents()?.damaged;
    Ok(code.max(for_each(&damaged, |directory| {
        bail!(
            "image {}: it cannot be read; remove it and import it again",
            &directory[..19]
        )
    })?))
}

fn verify(store: &Store, image: &Image, repair: bool) -> Result<()> {
    let comparison = store
        .verify(image, repair, super::unbounded())
        .with_context(|| format!("image {}", image.id.short()))?;
    stdio::print(&text(image, &comparison, repair))?;
    if !comparison.is_same() && !repair {
        bail!(
            "image {}: its tree differs from the image in {} places; skim image verify --repair {} puts it right",
            image.id.short(),
            comparison.total,
            image.id.short()
        );
    }
    Ok(())
}

/// What was found: a line for each difference. Pure.
fn text(image: &Image, comparison: &Comparison, repaired: bool) -> String {
    let id = image.id.short();
    if comparison.is_same() {
        let name = image
            .names
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        return format!("{id}: successfully verified checksum ({name})\n");
    }
    let repaired = if repaired { "repaired: " } else { "" };
    let differences = comparison.differences.iter();
    let mut text: String = differences
        .map(|difference| format!("{id}: {repaired}{difference}\n"))
        .collect();
    let unlisted = comparison.total - comparison.differences.len() as u64;
    if unlisted > 0 {
        text.push_str(&format!("{id}: {repaired}{unlisted} more\n"));
    }
    text
}
