//! The arguments of the verbs that make a pod, and the pod that they ask for.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use super::app_arguments;
use super::app_flags::AppFlags;
use super::image_flags::ImageFlags;
use super::making::{Making, PodKind, Source};
use crate::host::Host;

/// How the apps of a pod are given.
#[derive(Args, Debug)]
pub struct PodArguments {
    /// How images are fetched.
    #[command(flatten)]
    pub images: ImageFlags,
    /// Make the pod that this appc pod manifest describes; its images are in the store
    #[arg(long, value_name = "FILE")]
    pub pod_manifest: Option<PathBuf>,
    /// Write the pod's UUID to this file
    #[arg(long, value_name = "FILE")]
    pub uuid_file_save: Option<PathBuf>,
    /// Flags of all apps.
    #[command(flatten)]
    pub common: AppFlags,
    /// An image (a file, docker://…, an ID, a name: see skim fetch --help) and its flags
    #[arg(
        value_name = "IMAGE",
        required_unless_present = "pod_manifest",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub apps: Vec<OsString>,
}

impl PodArguments {
    /// The pod that these arguments describe.
    ///
    /// # Errors
    /// Where they contradict one another, or a manifest cannot be read.
    pub fn making<'a>(&'a self, host: &'a Host, kind: PodKind) -> Result<Making<'a>> {
        Ok(Making {
            host,
            images: &self.images,
            common: &self.common,
            source: self.source()?,
            kind,
            uuid_file: self.uuid_file_save.as_deref(),
        })
    }

    /// Where the apps are described.
    fn source(&self) -> Result<Source> {
        let Some(file) = &self.pod_manifest else {
            return Ok(Source::Images(app_arguments::parse(&self.apps)?));
        };
        ensure!(
            self.apps.is_empty()
                && self.common == AppFlags::default()
                && self.images.pull_policy.is_none(),
            "conflicting flags set with --pod-manifest (see --help)"
        );
        Source::manifest(file)
    }
}
