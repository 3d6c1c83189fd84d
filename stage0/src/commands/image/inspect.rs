//! `skim image inspect`: all that is known of images.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use stage1_skim::stdio;

use crate::commands::output;
use crate::host::Host;
use crate::image::hints::{self, Hint};
use crate::image::manifest::{App, Pair};
use crate::image::relocate::Report;
use crate::pod::directory::Pods;
use crate::pod::tree::Tree;
use crate::pod::uses::Uses;
use crate::store::{Image, LayerContent, LayerRecord, Store};

const HELP: &str = "\
Examples:
  skim image inspect example.com/docker
  skim image inspect sha256-1a2b | jq '.[0].app.exec'

Prints a JSON array. Sizes are in bytes, times in nanoseconds since 1970. See also skim image
cat-manifest and skim image relocations.";

/// Arguments of `skim image inspect`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct InspectArguments {
    /// The images' IDs, the beginnings of them, or names
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Prints what is known.
///
/// # Errors
/// Where there is no such image.
pub fn run(host: &Host, store: &Store, arguments: &InspectArguments) -> Result<u8> {
    let uses = Uses::read(&Pods::new(&host.directory))?;
    let mut all = Vec::new();
    for text in &arguments.images {
        let image = super::find(store, text)?;
        let relocations = store.relocations(&image)?;
        let hints = hints::find(&Tree::open(&image.tree)?)?;
        let pods = uses.of_image(&image.id);
        all.push(describe(&image, &relocations, &hints, pods));
    }
    stdio::print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    Ok(0)
}

/// An image as JSON. Pure.
fn describe(image: &Image, relocations: &Report, hints: &[Hint], pods: &[String]) -> Value {
    let manifest = &image.manifest;
    let dependencies = manifest.dependencies.iter().map(|dependency| {
        json!({
            "name": dependency.image_name,
            "id": dependency.image_id,
            "labels": pairs(&dependency.labels),
            "size": dependency.size,
        })
    });
    json!({
        "id": image.id,
        "name": image.name(),
        "version": image.version(),
        "names": image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "origin": image.origin,
        "digest": image.known_digest(),
        "signature": image.signature,
        "import_time": output::nanoseconds(image.imported),
        "last_used_time": image.last_used.and_then(output::nanoseconds),
        "size": image.size,
        "labels": pairs(&manifest.labels),
        "annotations": pairs(&manifest.annotations),
        "app": manifest.app.as_ref().map(app),
        "dependencies": dependencies.collect::<Vec<_>>(),
        "path_whitelist": manifest.path_whitelist,
        "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
        "tree": image.tree,
        "left_out": image.left_out,
        "relocations": {
            "changed": relocations.changes.len(),
            "left": relocations.left.len(),
        },
        "hints": hints.iter().map(hint).collect::<Vec<_>>(),
        "pods": pods,
    })
}

fn pairs(pairs: &[Pair]) -> Value {
    let pairs = pairs.iter();
    pairs
        .map(|pair| (pair.name.clone(), Value::from(&*pair.value)))
        .collect()
}

/// The paths are those in the image: where its rootfs will be is not known yet.
fn hint(hint: &Hint) -> Value {
    json!({
        "program": hint.program,
        "variable": hint.variable,
        "paths": hint.paths,
    })
}

fn app(app: &App) -> Value {
    let ports = app.ports.iter().map(|port| {
        json!({
            "name": port.name,
            "protocol": port.protocol,
            "port": port.port,
            "count": port.count,
            "socket_activated": port.socket_activated,
        })
    });
    let mount_points = app
        .mount_points
        .iter()
        .map(|point| json!({"name": point.name, "path": point.path, "read_only": point.read_only}));
    let isolators = app
        .isolators
        .iter()
        .map(|isolator| json!({"name": isolator.name, "value": isolator.value}));
    let environment = app.environment.iter();
    json!({
        "exec": app.exec,
        "environment": environment
            .map(|variable| (variable.name.clone(), Value::from(&*variable.value)))
            .collect::<Value>(),
        "user": app.user,
        "group": app.group,
        "supplementary_gids": app.supplementary_gids,
        "working_directory": app.working_directory,
        "pre_start": app.pre_start,
        "post_stop": app.post_stop,
        "ports": ports.collect::<Vec<_>>(),
        "mount_points": mount_points.collect::<Vec<_>>(),
        "stop_signal": app.stop_signal,
        "healthcheck": app.healthcheck,
        "isolators": isolators.collect::<Vec<_>>(),
    })
}

fn layer(layer: &LayerRecord) -> Value {
    let (kind, content) = match &layer.content {
        LayerContent::DiffId(diff_id) => ("diff_id", diff_id.to_string()),
        LayerContent::Image(id) => ("image_id", id.to_string()),
    };
    json!({
        "digest": layer.blob,
        "size": layer.blob_size,
        kind: content,
        "uncompressed_size": layer.size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::image::list::sample;

    #[test]
    fn hints_are_told_by_their_paths_in_the_image() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/lib/git-core")).unwrap();
        std::fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        std::fs::write(root.path().join("usr/bin/git"), "").unwrap();
        let hints = hints::find(&Tree::open(root.path()).unwrap()).unwrap();
        let image = sample("example.com/app", 1, 2000);
        let told = describe(&image, &Report::default(), &hints, &[]);
        let expected = json!([{
            "program": "/usr/bin/git",
            "variable": "GIT_EXEC_PATH",
            "paths": ["/usr/lib/git-core"],
        }]);
        assert_eq!(told["hints"], expected);
    }

    #[test]
    fn all_is_told() {
        let image = sample("example.com/app", 1, 2000);
        let told = describe(&image, &Report::default(), &[], &["6ba7b810".to_owned()]);
        assert_eq!(told["id"], image.id.as_str());
        assert_eq!(told["labels"]["os"], "linux");
        assert_eq!(told["layers"][0]["image_id"], image.id.as_str());
        assert_eq!(told["layers"][0]["size"], 1000);
        assert_eq!(told["relocations"]["changed"], 0);
        assert_eq!(told["pods"], json!(["6ba7b810"]));
        assert_eq!(told["app"], Value::Null);
        let with_app = app(&App {
            exec: vec!["/bin/x".to_owned()],
            stop_signal: Some("SIGINT".to_owned()),
            ..App::default()
        });
        assert_eq!(with_app["exec"], json!(["/bin/x"]));
        assert_eq!(with_app["stop_signal"], "SIGINT");
        assert_eq!(with_app["environment"], json!({}));
    }
}
