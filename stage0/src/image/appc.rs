//! An image's manifest written as appc has it (spec/aci.md, "Image Manifest Schema"). Pure.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::manifest::{App, ImageManifest, Pair, is_variable_name};
use super::name::check_identifier;

/// The version of the specification that is written.
pub const AC_VERSION: &str = "0.8.11";

/// The annotation with unit text for the app's service.
const DROPIN: &str = "skim.dropin";

/// The fields of a manifest that say what is not in the image's own archive.
const OF_OTHERS: [&str; 2] = ["dependencies", "pathWhitelist"];

/// Annotations whose form appc fixes; in an OCI image they may say anything.
const FIXED: [&str; 3] = ["created", "homepage", "documentation"];

/// An appc image's manifest for an archive that holds all that the image builds upon: what says
/// what else is needed, or is to be left out, goes. Nothing else changes.
///
/// # Errors
/// Where it is no JSON object.
pub fn of_whole(manifest: &[u8]) -> Result<Vec<u8>> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(manifest).context("the image's manifest is no JSON object")?;
    let before = fields.len();
    // The specification's own implementation takes keys in whatever case.
    fields.retain(|key, _| {
        !OF_OTHERS
            .iter()
            .any(|other| key.eq_ignore_ascii_case(other))
    });
    if fields.len() == before {
        return Ok(manifest.to_vec());
    }
    Ok(serde_json::to_vec(&fields)?)
}

/// The groups that an app runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The primary group.
    pub gid: u32,
    /// The others.
    pub supplementary_gids: Vec<u32>,
}

/// The appc manifest of an image that came as something else. `groups`: those of its user, where
/// the image leaves them to its `/etc/group`, as appc wants them named.
///
/// # Errors
/// Where no valid manifest can be made of it.
pub fn of_other(manifest: &ImageManifest, groups: &Groups) -> Result<Vec<u8>> {
    let mut annotations: Vec<Pair> = manifest
        .annotations
        .iter()
        .filter(|pair| check_identifier(&pair.name).is_ok() && !FIXED.contains(&&*pair.name))
        .cloned()
        .collect();
    if let Some(signal) = manifest
        .app
        .as_ref()
        .and_then(|app| app.stop_signal.as_ref())
    {
        add_stop_signal(&mut annotations, signal);
    }
    let mut fields = json!({
        "acKind": "ImageManifest",
        "acVersion": AC_VERSION,
        "name": identifier(&manifest.name),
        "labels": pairs(&manifest.labels),
        "annotations": pairs(&annotations),
    });
    if let Some(app) = &manifest.app {
        fields["app"] = self::app(app, groups);
    }
    let json = serde_json::to_vec(&fields)?;
    ImageManifest::parse(&json).context("no manifest of appc can be made of the image's")?;
    Ok(json)
}

/// An image's name as an AC Identifier: what may not stand in one becomes a dash.
fn identifier(name: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._~/".contains(c);
    let name: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    name.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// appc has no signal that ends an app; the drop-in says it, unless it does already.
fn add_stop_signal(annotations: &mut Vec<Pair>, signal: &str) {
    let line = format!("[Service]\nKillSignal={signal}\n");
    match annotations.iter_mut().find(|pair| pair.name == DROPIN) {
        Some(pair) if pair.value.contains("KillSignal") => (),
        Some(pair) => pair.value = format!("{line}{}", pair.value),
        None => annotations.push(Pair {
            name: DROPIN.to_owned(),
            value: line,
        }),
    }
}

fn pairs(pairs: &[Pair]) -> Value {
    let pairs = pairs.iter();
    pairs
        .map(|pair| json!({"name": pair.name, "value": pair.value}))
        .collect()
}

fn app(app: &App, groups: &Groups) -> Value {
    let (group, supplementary_gids) = match &app.group {
        Some(group) => (group.clone(), &app.supplementary_gids),
        None => (groups.gid.to_string(), &groups.supplementary_gids),
    };
    let variables = app.environment.iter();
    let environment: Vec<_> = variables
        .filter(|variable| is_variable_name(&variable.name))
        .map(|variable| json!({"name": variable.name, "value": variable.value}))
        .collect();
    let handlers = [("pre-start", &app.pre_start), ("post-stop", &app.post_stop)];
    let handlers: Vec<_> = handlers
        .iter()
        .filter_map(|(name, exec)| Some(json!({"name": name, "exec": exec.as_ref()?})))
        .collect();
    let mut fields = json!({
        "exec": app.exec,
        "user": app.user,
        "group": group,
        "supplementaryGIDs": supplementary_gids,
        "environment": environment,
        "eventHandlers": handlers,
        "mountPoints": app.mount_points.iter().map(|point| {
            json!({"name": point.name, "path": point.path, "readOnly": point.read_only})
        }).collect::<Vec<_>>(),
        "ports": app.ports.iter().map(port).collect::<Vec<_>>(),
        "isolators": app.isolators.iter().map(|isolator| {
            json!({"name": isolator.name, "value": isolator.value})
        }).collect::<Vec<_>>(),
    });
    if let Some(directory) = &app.working_directory {
        fields["workingDirectory"] = json!(directory);
    }
    fields
}

fn port(port: &super::manifest::Port) -> Value {
    json!({
        "name": port.name,
        "protocol": port.protocol.as_deref().unwrap_or("tcp"),
        "port": port.port,
        "count": port.count,
        "socketActivated": port.socket_activated,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::image::manifest::host_arch;
    use crate::image::oci::config;

    #[test]
    fn what_others_provide_is_taken_out_in_whatever_case() {
        let manifest = br#"{"b":1, "Dependencies":[{}],"PATHwhitelist":["/a"],"name":"a"}"#;
        assert_eq!(of_whole(manifest).unwrap(), br#"{"b":1,"name":"a"}"#);
        let plain = b"{ \"name\" : 1.50 }";
        assert_eq!(of_whole(plain).unwrap(), plain);
        assert!(of_whole(b"[]").is_err());
    }

    #[test]
    fn names_become_identifiers() {
        for (name, expected) in [
            ("docker.io/library/busybox", "docker.io/library/busybox"),
            ("localhost:5000/a__b", "localhost-5000/a__b"),
            ("Example.com/App.", "example.com/app"),
        ] {
            assert_eq!(identifier(name), expected);
        }
    }

    #[test]
    fn an_oci_image_becomes_one_of_appc() {
        let architecture = match host_arch() {
            "aarch64" => "arm64",
            other => other,
        };
        let oci = json!({
            "os": "linux", "architecture": architecture,
            "rootfs": {"type": "layers", "diff_ids": []},
            "config": {
                "User": "app", "Entrypoint": ["/bin/x"], "Cmd": ["-v"], "WorkingDir": "/w",
                "Env": ["A=b=c", "odd:name=1"], "StopSignal": "SIGINT",
                "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
                "Labels": {"good": "1", "Bad Name": "2", "created": "yesterday"}
            }
        });
        let manifest = config::to_manifest(
            oci.to_string().as_bytes(),
            &BTreeMap::new(),
            "localhost:5000/app",
            Some("1.2"),
        )
        .unwrap();
        let groups = Groups {
            gid: 33,
            supplementary_gids: vec![4, 5],
        };
        let json = of_other(&manifest, &groups).unwrap();
        let parsed = ImageManifest::parse(&json).unwrap();
        parsed.check_supported(host_arch()).unwrap();
        assert_eq!(parsed.name, "localhost-5000/app");
        assert_eq!(parsed.version(), Some("1.2"));
        assert_eq!(parsed.annotation("good"), Some("1"));
        assert_eq!(parsed.annotation("created"), None);
        let dropin = parsed.annotation(DROPIN).unwrap();
        assert_eq!(dropin, "[Service]\nKillSignal=SIGINT\n");
        let app = parsed.app.unwrap();
        assert_eq!(app.exec, ["/bin/x", "-v"]);
        assert_eq!(
            (app.user.as_str(), app.group.as_deref()),
            ("app", Some("33"))
        );
        assert_eq!(app.supplementary_gids, [4, 5]);
        assert_eq!(app.working_directory.as_deref(), Some("/w"));
        assert_eq!(app.environment.len(), 1);
        assert_eq!(app.environment[0].value, "b=c");
        assert_eq!(app.ports[0].port, 80);
        assert_eq!(app.mount_points[0].path, "/data");
    }
}
