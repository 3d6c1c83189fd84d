//! `skim image gc`: removes what no image needs, and images that nobody does.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::Args;
use stage1_skim::stdio;

use crate::commands::output;
use crate::host::Host;
use crate::pod::directory::Pods;
use crate::pod::uses::Uses;
use crate::store::Store;
use crate::store::garbage::{Garbage, Scope};

const HELP: &str = "\
Examples:
  skim image gc
  skim image gc --grace-period=720h   keep images that were used in the last 30 days
  skim image gc --grace-period=0s     keep only images that pods and services use
  skim image gc --dry-run

An image is needed as long as a pod that is not removed yet uses it (see skim list, skim gc), or
a version of a service that is kept (see skim rollback --list).";

/// Arguments of `skim image gc`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct GcArguments {
    /// How long to keep images that no pod uses, counted from their last use or import, and
    /// downloads that were interrupted
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    pub grace_period: Duration,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Collects garbage.
///
/// # Errors
/// Where the store or the pods cannot be read, or something cannot be removed.
pub fn run(host: &Host, store: &Store, arguments: &GcArguments) -> Result<u8> {
    let pods = Pods::new(&host.directory);
    let now = SystemTime::now();
    let grace = arguments.grace_period;
    // A grace period of ages means that everything is young.
    let until = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
    let removal = store.removal()?;
    let uses = Uses::read(&pods)?;
    let contents = store.contents()?;
    let going = contents.expired(&uses, grace, now);
    let garbage = contents.garbage(&uses, &going, Scope::All { until });
    if !contents.unknown.is_empty() || !uses.unknown().is_empty() {
        log::warn!(
            "what the images or pods that cannot be read may need is kept; remove them by their ID (skim image rm, skim rm)"
        );
    }
    if arguments.dry_run {
        stdio::print(&text(&garbage, 0, "would remove", "would free"))?;
        return Ok(0);
    }
    removal.remove(&garbage)?;
    let downloads = store.sweep_downloads(until)?;
    stdio::print(&text(&garbage, downloads, "removed", "freed"))?;
    Ok(0)
}

/// What was done: a line for each thing, and a last one for the space. Pure.
fn text(garbage: &Garbage, downloads: u64, removed: &str, freed: &str) -> String {
    let mut text = String::new();
    let mut line = |kind: &str, name: &str| text.push_str(&format!("{removed} {kind} {name}\n"));
    for tree in &garbage.trees {
        line("tree", tree.as_str());
    }
    for blob in &garbage.blobs {
        line("archive", &blob.to_string());
    }
    for image in &garbage.images {
        line("image", image);
    }
    if downloads > 0 {
        line("interrupted downloads:", &downloads.to_string());
    }
    if !text.is_empty() {
        text.push_str(&format!("{freed} {}\n", output::size(garbage.bytes)));
    }
    text
}
