//! `skim cat-manifest`: a pod as appc's pod manifest.

use anyhow::{Context, Result, ensure};
use clap::Args;
use stage1_skim::pod_dir;

use super::image::pretty::PrettyPrint;
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
    /// How it is printed.
    #[command(flatten)]
    pub print: PrettyPrint,
    /// Which pod.
    #[command(flatten)]
    pub pod: OnePod,
}

/// Prints the manifest.
///
/// # Errors
/// Where there is no such pod, or it was not planned yet.
pub fn run(host: &Host, arguments: &CatManifestArguments) -> Result<u8> {
    host.check_caller()?;
    let found = Pods::new(&host.directory).find(&arguments.pod.prefix()?)?;
    let plan = pod_dir::read_plan(&found.path)
        .with_context(|| format!("pod {} is {}", found.uuid, found.state))?;
    ensure!(
        !plan.manifest.is_null(),
        "pod {} was made by an earlier skim, which kept no manifest",
        found.uuid
    );
    arguments
        .print
        .print(format!("{}\n", plan.manifest).as_bytes())?;
    Ok(0)
}
