//! `skim cat-manifest`: a pod as appc's pod manifest.

use anyhow::{Context, Result, ensure};
use clap::{ArgAction, Args};
use stage1_skim::{pod_dir, stdio};

use super::image::pretty;
use super::pod_selection::OnePod;
use crate::host::Host;
use crate::pod::directory::Pods;

const HELP: &str = "\
Examples:
  skim cat-manifest 6ba7b810
  skim cat-manifest --pretty-print=false 6ba7b810

It says what was made of the images and the flags: users are numbers, paths are those of the
images. skim run --pod-manifest makes the same pod of it. The manifest of an image is told by skim
image cat-manifest.";

/// Arguments of `skim cat-manifest`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct CatManifestArguments {
    /// Print with line breaks and blanks for people to read
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub pretty_print: bool,
    /// Which pod.
    #[command(flatten)]
    pub pod: OnePod,
}

/// Prints the manifest.
///
/// # Errors
/// Where there is no such pod, or it was not planned yet.
pub fn run(host: &Host, arguments: &CatManifestArguments) -> Result<u8> {
    host.need_root()?;
    let found = Pods::new(&host.directory).find(&arguments.pod.prefix()?)?;
    let plan = pod_dir::read_plan(&found.path)
        .with_context(|| format!("pod {} is {}", found.uuid, found.state))?;
    ensure!(
        !plan.manifest.is_null(),
        "pod {} was made by an earlier skim, which kept no manifest",
        found.uuid
    );
    let json = plan.manifest.to_string();
    match arguments.pretty_print {
        true => stdio::print(&pretty::json(json.as_bytes()))?,
        false => stdio::print(&format!("{json}\n"))?,
    }
    Ok(0)
}
