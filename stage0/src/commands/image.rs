//! `skim image`: a look into the images of the store.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use stage1_skim::stdio;

use super::output;
use crate::cli::Format;
use crate::host::Host;
use crate::image::limits::Limits;
use crate::image::reference::Reference;
use crate::image::relocate::{Report, What};
use crate::store::{Image, Store};

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// List the images of the store
    #[command(visible_alias = "ls")]
    List,
    /// Show what was changed in an image to make it run from its path in the store
    Relocations(RelocationsArguments),
}

/// Arguments of `skim image relocations`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  skim image relocations docker.aci\n  skim image relocations sha512-1a2b --format=json"
)]
pub struct RelocationsArguments {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// An ACI file, or the ID or the name of an image in the store
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Carries out the verb.
///
/// # Errors
/// Where the store cannot be read, or there is no such image.
pub fn run(host: &Host, verb: &ImageVerb) -> Result<u8> {
    host.need_root()?;
    let store = Store::open(&host.directory)?;
    match verb {
        ImageVerb::List => list(&store),
        ImageVerb::Relocations(arguments) => relocations(&store, arguments),
    }
}

fn list(store: &Store) -> Result<u8> {
    let headings = ["ID", "NAME", "SIZE", "IMPORT TIME"];
    let mut rows = vec![headings.map(str::to_string).to_vec()];
    let row = |image: &Image| {
        vec![
            image.id.short().to_string(),
            match &image.version {
                Some(version) => format!("{}:{version}", image.name),
                None => image.name.clone(),
            },
            image.size.to_string(),
            output::absolute(image.imported),
        ]
    };
    rows.extend(store.list()?.iter().map(row));
    stdio::print(&output::table(&rows))?;
    Ok(0)
}

fn relocations(store: &Store, arguments: &RelocationsArguments) -> Result<u8> {
    let image = Reference::parse(&arguments.image)
        .and_then(|reference| store.fetch(&reference, Limits::default()))
        .with_context(|| format!("image {}", arguments.image))?;
    let report = store.relocations(&image)?;
    match arguments.format {
        Format::Json => stdio::print(&format!("{}\n", serde_json::to_string(&report)?))?,
        Format::Text => stdio::print(&text(&report))?,
    }
    Ok(0)
}

/// A line for each file: what was changed, from what, to what. Pure.
fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for change in &report.changes {
        let path = &change.path;
        let mut line = |what: &str, from: &str, to: &str| {
            let from = if from.is_empty() { "none" } else { from };
            lines.push(format!("{path}: {what} {from} -> {to}"));
        };
        match &change.what {
            What::Elf { interpreter, rpath } => {
                if let Some(interpreter) = interpreter {
                    line("interpreter", &interpreter.from, &interpreter.to);
                }
                line("rpath", &rpath.from, &rpath.to);
            }
            What::Shebang { from, to } => line("script", from, to),
            What::Symlink { from, to } => line("link", from, to),
        }
    }
    for left in &report.left {
        lines.push(format!("{}: left as it is: {}", left.path, left.reason));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
