//! The manifest of an appc image: the input is the whole file `manifest`.

use anyhow::Result;
use skim::image::manifest::{ImageManifest, host_arch};
use skim::image::whitelist::Whitelist;

use super::{check_error, plan};

/// Parses the manifest, and plans a pod of what it says.
pub fn run(json: &[u8]) -> Result<()> {
    let manifest = ImageManifest::parse(json);
    check_error(&manifest);
    let manifest = manifest?;
    let supported = manifest.check_supported(host_arch());
    check_error(&supported);
    check_whitelist(&manifest.path_whitelist);
    plan::check(&manifest);
    supported
}

/// What is listed is kept, whatever it is.
fn check_whitelist(listed: &[String]) {
    let whitelist = Whitelist::new(listed);
    check_error(&whitelist);
    let Ok(Some(whitelist)) = whitelist else {
        return;
    };
    assert!(whitelist.keeps(b"", true));
    for path in listed {
        let plain: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        if plain.iter().all(|part| !matches!(*part, "." | "..")) {
            let path = plain.join("/");
            assert!(whitelist.keeps(path.as_bytes(), false), "{path:?}");
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(whitelist.keeps(parent.as_bytes(), true), "{parent:?}");
        }
    }
}
