//! `skim version`: what is installed.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use stage1_skim::bus::BlockingBus;
use stage1_skim::pod::CONTRACT_VERSION;
use stage1_skim::{stdio, systemd};

use crate::cli::Format;
use crate::host::Host;

/// Arguments of `skim version`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  skim version\n  skim version --format=json")]
pub struct VersionArguments {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What is installed; what cannot be told is left out, and logged.
#[derive(Debug, Serialize)]
struct Versions {
    skim: &'static str,
    /// The version of the contract between skim and its stage1.
    contract: u32,
    stage1: Option<Stage1>,
    systemd: Option<String>,
}

#[derive(Debug, Serialize)]
struct Stage1 {
    path: String,
    /// What it says of itself: its name, its version, the contract that it speaks.
    version: String,
}

/// Prints the versions.
///
/// # Errors
/// Where they cannot be printed.
pub fn run(host: &Host, arguments: &VersionArguments) -> Result<u8> {
    let versions = Versions {
        skim: env!("CARGO_PKG_VERSION"),
        contract: CONTRACT_VERSION,
        stage1: told(stage1(host)),
        systemd: told(systemd_version(host)).flatten(),
    };
    match arguments.format {
        Format::Json => stdio::print(&format!("{}\n", serde_json::to_string(&versions)?))?,
        Format::Text => stdio::print(&text(&versions))?,
    }
    Ok(0)
}

fn told<T>(version: Result<T>) -> Option<T> {
    version.inspect_err(|error| log::warn!("{error:#}")).ok()
}

fn stage1(host: &Host) -> Result<Stage1> {
    let path = host.stage1()?;
    let failed = || format!("cannot tell the version of {}", path.display());
    let output = Command::new(&path)
        .arg("--version")
        .output()
        .with_context(failed)?;
    ensure!(output.status.success(), "{}: {}", failed(), output.status);
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(Stage1 {
        version: super::output::printable(version.trim_end()),
        path: path.display().to_string(),
    })
}

fn systemd_version(host: &Host) -> Result<Option<String>> {
    if !systemd::booted() {
        return Ok(None);
    }
    Ok(Some(
        BlockingBus::connect(&host.manager()?)?.systemd_version()?,
    ))
}

/// A line each. Pure.
fn text(versions: &Versions) -> String {
    let stage1 = versions.stage1.as_ref();
    let systemd = versions.systemd.as_deref();
    format!(
        "skim {} (contract {})\n{}\nsystemd {}\n",
        versions.skim,
        versions.contract,
        stage1.map_or("stage1-skim not found", |stage1| &stage1.version),
        systemd.unwrap_or("not running")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_each() {
        let mut versions = Versions {
            skim: "1.2.3",
            contract: 4,
            stage1: Some(Stage1 {
                path: "/s".into(),
                version: "stage1-skim 1.2.3 (contract 4)".into(),
            }),
            systemd: Some("252.1".into()),
        };
        assert_eq!(
            text(&versions),
            "skim 1.2.3 (contract 4)\nstage1-skim 1.2.3 (contract 4)\nsystemd 252.1\n"
        );
        (versions.stage1, versions.systemd) = (None, None);
        assert_eq!(
            text(&versions),
            "skim 1.2.3 (contract 4)\nstage1-skim not found\nsystemd not running\n"
        );
    }
}
