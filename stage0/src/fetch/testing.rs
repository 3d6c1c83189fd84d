//! Fetching in tests, without a network.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use super::{Fetcher, PullPolicy};
use crate::config::Directories;
use crate::image::limits::Limits;
use crate::image::reference::Reference;
use crate::progress::Silent;
use crate::registry::credentials::{CredentialEnvironment, CredentialFiles};
use crate::registry::options::NetworkOptions;
use crate::store::{Image, Import, Store};
use crate::trust::Trust;

/// Fetches with the configuration in `local`, which need not be there.
pub fn fetch(
    store: &Store,
    local: &Path,
    signature: Option<PathBuf>,
    reference: &Reference,
) -> Result<Image> {
    let directories = Directories {
        administrator: None,
        system: "/nonexistent".into(),
        local: local.to_owned(),
    };
    let trust = Trust::open(&directories, false, SystemTime::now())?;
    let fetcher = Fetcher {
        store,
        trust: &trust,
        import: Import {
            limits: Limits::default(),
            progress: &Silent,
        },
        pull: PullPolicy::Never,
        only_known: false,
        network: NetworkOptions::default(),
        credentials: CredentialFiles::new(&CredentialEnvironment::default()),
        signature,
    };
    fetcher.fetch(reference)
}
