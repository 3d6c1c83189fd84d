//! `skim config`: the configuration as it takes effect.

use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use stage1_skim::names::EXIT_ERROR;
use stage1_skim::stdio;

use super::image::pretty;
use super::trust;
use crate::host::Host;
use crate::trust::keyring;
use crate::trust::policy;

const HELP: &str = "\
Examples:
  skim config
  skim config --local-config=/tmp/etc   with other files than those of /etc/skim

JSON: the directories, the stage1, the trusted keys, and of policies and of credentials for
registries the files that are there, those that count first. No secret is told.";

/// Arguments of `skim config`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct ConfigArguments {}

/// Prints the configuration.
///
/// # Errors
/// Where a file of it cannot be used: what can be told is printed before.
pub fn run(host: &Host) -> Result<u8> {
    let mut faults = Vec::new();
    let stage1 = host.stage1().map_err(|error| faults.push(error)).ok();
    let policies = policy::paths(&host.config)
        .map_err(|error| faults.push(error))
        .unwrap_or_default();
    let scan = keyring::scan(&host.config);
    let now = SystemTime::now();
    let keys: Vec<_> = scan
        .entries
        .iter()
        .map(|entry| trust::listed(entry, now))
        .collect();
    let mut bases: Vec<_> = host.config.lowest_first().collect();
    bases.reverse();
    let config = json!({
        "directories": {
            "dir": host.directory,
            "images": host.directory.join("images"),
            "pods": host.directory.join("pods"),
            "units": host.manager()?.unit_directory(),
            "local_config": host.config.local,
            "system_config": host.config.system,
        },
        "stage1": stage1,
        "trusted_keys": {
            "directories": bases.iter().map(|base| base.join("trustedkeys")).collect::<Vec<_>>(),
            "keys": keys,
        },
        "policies": policies,
        "credentials": host.credentials().there(),
    });
    stdio::print(&pretty::json(config.to_string().as_bytes()))?;
    faults.extend(scan.faults);
    for fault in &faults {
        log::error!("{fault:#}");
    }
    Ok(if faults.is_empty() { 0 } else { EXIT_ERROR })
}
