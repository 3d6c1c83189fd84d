//! What the fuzz targets do with their input. The test `seeds` of the crate skim does the same
//! with every file in `seeds/`, so that the corpus stays of use.
//!
//! A target fails by a panic: one of skim's own, or an assertion here.

pub mod aci_manifest;
mod cell;
pub mod decompress;
pub mod oci_config;
mod plan;
pub mod pod_file;
pub mod relocate;
mod script;
pub mod tar_walk;

use anyhow::Result;

/// What a target does with an input; an error is why skim does not take it.
pub type Target = fn(&[u8]) -> Result<()>;

/// The targets by their names, which their directories in `seeds/` have too.
pub const TARGETS: [(&str, Target); 6] = [
    ("aci_manifest", aci_manifest::run),
    ("decompress", decompress::run),
    ("oci_config", oci_config::run),
    ("pod_file", pod_file::run),
    ("relocate", relocate::run),
    ("tar_walk", tar_walk::run),
];

/// Checks that an error, if it is one, is a line that a terminal can show.
fn check_error<T>(result: &Result<T>) {
    if let Err(error) = result {
        check_line(&format!("{error:#}"));
    }
}

/// Checks that a text is one line without control characters.
fn check_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
