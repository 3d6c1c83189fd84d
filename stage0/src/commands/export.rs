//! `skim export`: what an app has left, as an image.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use stage1_skim::names::AppDirectory;
use stage1_skim::pod::AppPlan;
use stage1_skim::pod_dir::PodDir;

use super::image::{place, unbounded};
use super::pod_selection::read_uuid;
use crate::host::Host;
use crate::image::appc::{self, Groups};
use crate::image::id::ImageId;
use crate::overlay;
use crate::pod::directory::{Found, Pods};
use crate::pod::export::{self, Layers};
use crate::pod::root;
use crate::pod::state::State;
use crate::pod::tree::Tree;
use crate::pod::user;
use crate::store::{Image, Store};

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

const HELP: &str = "\
Examples:
  skim export 6ba7b810 web.aci
  skim export --app=db 6ba7b810 db.aci          of a pod with several apps
  skim run ./web.aci                            runs what was exported

The app's files as they are now, those of its image and what it wrote, become an appc image with
the manifest of its image. The pod must have exited, and its directory still be there (see skim gc
--grace-period). Volumes are not in it. Files that the app did not change are as the image's
author made them.";

/// Arguments of `skim export`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct ExportArguments {
    /// The app; may be left out where the pod has one only
    #[arg(long)]
    pub app: Option<String>,
    /// Replace the file if it exists
    #[arg(long)]
    pub overwrite: bool,
    /// Take the pod's UUID from this file, and give no UUID
    #[arg(long, value_name = "FILE")]
    pub uuid_file: Option<PathBuf>,
    /// The pod's UUID, or the beginning of it, and the file, whose name ends in .aci
    #[arg(value_names = ["UUID", "FILE"], num_args = 1..=2, required = true)]
    pub operands: Vec<PathBuf>,
}

/// Writes the image.
///
/// # Errors
/// Where the pod runs or has not run, or the file cannot be written: then there is none.
pub fn run(host: &Host, arguments: &ExportArguments) -> Result<u8> {
    ensure!(
        !host.scope.is_user(),
        "skim --user cannot export what an app has left: copy it from the app's rootfs (skim --user \
         status tells where that is)"
    );
    host.need_root()?;
    let (prefix, file) = operands(arguments)?;
    let pods = Pods::new(&host.directory);
    let found = pods.find(&prefix)?;
    check(&found)?;
    // Nobody takes it away or tidies it up meanwhile.
    let Some(_hold) = pods.hold(&found)? else {
        bail!(
            "pod {} was {}, and somebody else has just taken it: look again (skim list)",
            found.uuid,
            found.state
        );
    };
    let pod = PodDir::open(&found.path)?;
    let app = pod.app(arguments.app.as_deref())?;
    let store = Store::open(&host.directory)?;
    let context = || format!("cannot export the app {} of pod {}", app.name, found.uuid);
    let image = image(&store, app).with_context(context)?;
    let made = root::made(app, &Tree::open(&image.tree)?, &host.stage1()?).with_context(context)?;
    place::file(&file, arguments.overwrite, |file| {
        write(&store, &image, &found, app, &made, file)
    })
    .with_context(context)?;
    Ok(0)
}

/// The UUID or the beginning of it, and the file.
fn operands(arguments: &ExportArguments) -> Result<(String, PathBuf)> {
    let (prefix, file) = match (&arguments.uuid_file, arguments.operands.as_slice()) {
        (Some(uuid_file), [file]) => (read_uuid(uuid_file)?, file),
        (None, [uuid, file]) => (uuid.to_string_lossy().into_owned(), file),
        (Some(_), _) => bail!("give either UUID or --uuid-file, and FILE"),
        (None, _) => bail!("give UUID and FILE: the pod, and the image to write"),
    };
    ensure!(
        file.extension().is_some_and(|extension| extension == "aci"),
        "{}: the image's name must end in .aci",
        file.display()
    );
    Ok((prefix, file.clone()))
}

/// Refuses a pod that is not at rest, or has not run.
fn check(found: &Found) -> Result<()> {
    let why = match found.state {
        State::Exited | State::ExitedGarbage => return Ok(()),
        State::Running => "stop it first (skim stop)",
        State::ExitedDeleting | State::Deleting | State::Garbage => "it is being removed",
        State::Embryo | State::Preparing | State::AbortedPrepare | State::Prepared => {
            "it has not run, and has nothing of its own (see skim image export)"
        }
    };
    bail!(
        "pod {} is {}: only one that has exited can be exported: {why}",
        found.uuid,
        found.state
    )
}

/// The image that the app ran from.
fn image(store: &Store, app: &AppPlan) -> Result<Image> {
    let image = store.find_id(&ImageId::parse(&app.image.id)?)?;
    image
        .filter(|image| image.tree == app.image.tree)
        .with_context(|| {
            format!(
                "its image {} is no longer in the store: import it again (skim fetch)",
                app.image.name
            )
        })
}

fn write(
    store: &Store,
    image: &Image,
    found: &Found,
    app: &AppPlan,
    made: &BTreeSet<PathBuf>,
    file: &File,
) -> Result<()> {
    let directory = AppDirectory::new(&found.path, &app.name);
    let view = overlay::view(&image.tree, &directory)?;
    let upper = open(&directory.upper())?;
    let tree = open(&image.tree)?;
    let manifest = manifest(image)?;
    // No name and no time stands in it: the same files give the same bytes.
    let output = GzBuilder::new().write(
        BufWriter::with_capacity(BUFFER, file),
        Compression::default(),
    );
    let mut output = BufWriter::with_capacity(BUFFER, output);
    let left_out = store.with_originals(image, unbounded(), |originals| {
        let layers = Layers {
            view: view.as_fd(),
            upper: upper.as_fd(),
            tree: tree.as_fd(),
            originals,
        };
        export::write(&manifest, layers, made, &mut output)
    })?;
    let output = output.into_inner().map_err(IntoInnerError::into_error);
    let output = output.and_then(GzEncoder::finish);
    let flushed = output.and_then(|mut output| output.flush());
    flushed.context("cannot write it")?;
    if left_out.devices > 0 {
        log::warn!("left out {} device nodes", left_out.devices);
    }
    if left_out.sockets > 0 {
        log::warn!("left out {} sockets", left_out.sockets);
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// The manifest of the export: the image's own, or what one of appc says of it.
fn manifest(image: &Image) -> Result<Vec<u8>> {
    if !image.id.is_oci() {
        let manifest = image.documents.manifest.as_ref();
        return appc::of_whole(manifest.context("the image has no manifest")?);
    }
    let user = image.manifest.app.as_ref().map(|app| app.user.as_str());
    let tree = Tree::open(&image.tree)?;
    let user = user.unwrap_or("0");
    let uid = user::find_user(&tree, user)?.uid;
    let (gid, supplementary_gids) = user::own_groups(&tree, user, uid)?;
    appc::of_other(
        &image.manifest,
        &Groups {
            gid,
            supplementary_gids,
        },
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, Verb};
    use crate::pod::state::Stage;

    fn parse(line: &str) -> Result<(String, PathBuf)> {
        let arguments = Arguments::try_parse_from(line.split(' '))?;
        match arguments.verb {
            Verb::Export(arguments) => operands(&arguments),
            verb => panic!("{verb:?}"),
        }
    }

    #[test]
    fn what_is_exported_where() {
        let (pod, file) = parse("skim export --overwrite 6ba7 /a/b.aci").unwrap();
        assert_eq!((pod.as_str(), file), ("6ba7", "/a/b.aci".into()));
        for (bad, says) in [
            ("skim export 6ba7", "UUID and FILE"),
            ("skim export 6ba7 b.tar", "end in .aci"),
            ("skim export 6ba7 aci", "end in .aci"),
            ("skim export --uuid-file=f 6ba7 b.aci", "either"),
            ("skim export", "required"),
        ] {
            let error = format!("{:#}", parse(bad).unwrap_err());
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn only_what_has_exited_is_exported() {
        for (stage, is_locked, says) in [
            (Stage::Run, true, "is running: only one that has exited"),
            (Stage::Prepared, false, "has not run"),
            (Stage::ExitedGarbage, true, "being removed"),
            (Stage::Run, false, ""),
            (Stage::ExitedGarbage, false, ""),
        ] {
            let checked = check(&Found {
                uuid: "6ba7".into(),
                stage,
                state: State::of(stage, is_locked),
                path: "/".into(),
            });
            match checked {
                Ok(()) => assert_eq!(says, ""),
                Err(error) => assert!(error.to_string().contains(says), "{error}"),
            }
        }
    }
}
