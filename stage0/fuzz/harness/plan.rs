//! From an image's manifest to a pod's plan and the text of its units.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use anyhow::Result;
use skim::image::id::ImageId;
use skim::image::manifest::ImageManifest;
use skim::image::unpack::LeftOut;
use skim::pod::plan::plan;
use skim::pod::request::{AppRequest, PodRequest};
use skim::store::{Documents, Image, ImageName, TreeKey};
use stage1_skim::pod::PodPlan;
use stage1_skim::unit;
use stage1_skim::units;
use tempfile::TempDir;

use super::{check_error, check_line};

const UUID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const STAGE1: &str = "/usr/lib/skim/stage1-skim";

/// A small image's tree, which is only read.
static TREE: LazyLock<TempDir> = LazyLock::new(|| {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    for path in ["bin", "etc", "root", "home/app", "usr/bin", "var/lib/app"] {
        fs::create_dir_all(at(path)).unwrap();
    }
    for path in ["bin/app", "bin/sh", "usr/bin/env"] {
        fs::write(at(path), "").unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let users = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    fs::write(at("etc/passwd"), users).unwrap();
    fs::write(at("etc/group"), "root:x:0:\napp:x:1000:\nmore:x:7:app\n").unwrap();
    tree
});

/// Plans a pod of the image, and one that runs a program that the image has.
pub fn check(manifest: &ImageManifest) {
    for exec in [None, Some("/bin/app".to_owned())] {
        let request = request(manifest, exec);
        let planned = plan(
            UUID,
            Path::new("/run/skim/pod"),
            Path::new(STAGE1),
            &request,
        );
        check_error(&planned);
        if let Ok(plan) = planned {
            check_plan(&plan).unwrap();
        }
    }
}

fn request(manifest: &ImageManifest, exec: Option<String>) -> PodRequest {
    let id = ImageId::from_digest(&[7; 64]);
    // As `run` does for a name of which none can be made.
    let name = match manifest.default_app_name() {
        Some(_) => None,
        None => Some("app".to_owned()),
    };
    let image = Image {
        names: vec![ImageName {
            name: manifest.name.clone(),
            version: manifest.version().map(str::to_owned),
        }],
        manifest: manifest.clone(),
        documents: Documents::default(),
        key: TreeKey::of_image(&id),
        id,
        tree: TREE.path().to_owned(),
        layers: Vec::new(),
        origin: "fuzz".to_owned(),
        digest: None,
        validators: None,
        signature: None,
        imported: SystemTime::UNIX_EPOCH,
        last_used: None,
        size: 0,
        left_out: LeftOut::default(),
    };
    PodRequest {
        apps: vec![AppRequest {
            name,
            exec,
            ..AppRequest::new(image)
        }],
        ..PodRequest::default()
    }
}

/// The plan survives its way to stage1, and its units say what it says and no more.
fn check_plan(plan: &PodPlan) -> Result<()> {
    let json = serde_json::to_vec(plan)?;
    let read: PodPlan = serde_json::from_slice(&json)?;
    assert_eq!(serde_json::to_vec(&read)?, json);
    for file in units::units(&read, Path::new(STAGE1))? {
        check_line(&file.name);
        assert!(!file.name.contains('/'), "{:?}", file.name);
        check_unit(&file.text);
    }
    Ok(())
}

/// Goes through a unit's text as systemd.syntax(7) has it.
fn check_unit(text: &str) {
    let mut in_section = false;
    let mut programs = 0;
    let lines = text.strip_suffix('\n').expect("it ends with a line's end");
    for line in lines.split('\n') {
        let strange = |c: char| c.is_ascii_control() && c != '\t';
        assert!(!line.contains(strange), "{line:?}");
        assert!(!line.ends_with('\\'), "{line:?}");
        match line {
            "" => continue,
            "[Unit]" | "[Service]" | "[Slice]" | "[Socket]" => in_section = true,
            _ if line.starts_with("# from ") => (),
            _ => {
                let (key, _) = line.split_once('=').expect("an assignment");
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                assert!(
                    in_section && !key.is_empty() && key.chars().all(plain),
                    "{line:?}"
                );
                programs += usize::from(key == "ExecStart");
            }
        }
    }
    assert!(programs <= 1, "{text}");
    // What is rendered without comments is read back as it is, but for what is skim's own.
    check_error(&unit::parse(text));
}
