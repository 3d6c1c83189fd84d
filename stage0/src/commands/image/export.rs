//! `skim image export`: an image as one file.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::place;
use crate::store::Store;

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

const HELP: &str = "\
Examples:
  skim image export example.com/docker docker.aci
  skim image export docker.io/library/busybox busybox.tar   podman load -i busybox.tar reads it
  skim image export sha256-1a2b - | ssh host 'cat >app.tar && skim fetch ./app.tar'

The image keeps its ID. An appc image is written uncompressed; an OCI image as a layout in a tar
archive (oci-archive), or, if it came from docker save, as that writes it (docker-archive).";

/// Arguments of `skim image export`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct ExportArguments {
    /// Replace the file if it exists
    #[arg(long)]
    pub overwrite: bool,
    /// The image's ID, the beginning of it, or its name
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The file; - for standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Writes the image.
///
/// # Errors
/// Where there is no such image, or the file cannot be written: then there is none.
pub fn run(store: &Store, arguments: &ExportArguments) -> Result<u8> {
    let image = super::find(store, &arguments.image)?;
    let context = || format!("cannot export image {:?}", arguments.image);
    if arguments.file == Path::new("-") {
        let stdout = std::io::stdout().lock();
        ensure!(
            !stdout.is_terminal(),
            "an image is nothing to look at: redirect standard output, or name a file"
        );
        let mut output = BufWriter::with_capacity(BUFFER, stdout);
        store.export(&image, &mut output).with_context(context)?;
        output.flush().with_context(context)?;
        return Ok(0);
    }
    place::file(&arguments.file, arguments.overwrite, |file| {
        let mut output = BufWriter::with_capacity(BUFFER, file);
        store.export(&image, &mut output)?;
        output.flush().context("cannot write it")
    })
    .with_context(context)?;
    Ok(0)
}
