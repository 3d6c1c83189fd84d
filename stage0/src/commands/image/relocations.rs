//! `skim image relocations`: what was changed in an image to make it run from the store.

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::stdio;

use crate::cli::Format;
use crate::commands::image_flags::{Fetching, ImageFlags};
use crate::fetch::PullPolicy;
use crate::host::Host;
use crate::image::reference::Reference;
use crate::image::relocate::{Report, What};
use crate::store::Store;

/// Arguments of `skim image relocations`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  skim image relocations docker.aci\n  skim image relocations sha512-1a2b --format=json"
)]
pub struct RelocationsArguments {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How images are fetched.
    #[command(flatten)]
    pub flags: ImageFlags,
    /// An image: a file, docker://…, an ID, a name (see skim fetch --help)
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Prints what was changed.
///
/// # Errors
/// Where there is no such image, or it cannot be fetched.
pub fn run(host: &Host, store: &Store, arguments: &RelocationsArguments) -> Result<u8> {
    let image = arguments.flags.with_fetcher(
        host,
        store,
        Fetching::AsNeeded(PullPolicy::New),
        |fetcher| {
            Reference::parse(&arguments.image)
                .and_then(|reference| fetcher.fetch(&reference))
                .with_context(|| format!("image {}", arguments.image))
        },
    )?;
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
