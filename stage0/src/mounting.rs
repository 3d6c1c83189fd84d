//! A pod's mounts: its apps' overlays, and what belongs into them.

use anyhow::{Context, Result};
use stage1_skim::names::AppDirectory;
use stage1_skim::pod::PodPlan;

use crate::overlay;
use crate::pod::directory::LockedPod;
use crate::pod::working_directory;

/// Mounts what the apps of a pod in the stage `run` need.
///
/// # Errors
/// Where the kernel or a file system refuses. What was mounted until then stays.
pub fn mount(plan: &PodPlan, pod: &LockedPod) -> Result<()> {
    for app in &plan.apps {
        overlay::mount(&app.image.tree, &AppDirectory::new(&pod.path, &app.name))?;
        working_directory::make(&app.rootfs, &app.working_directory)
            .with_context(|| format!("app {}", app.name))?;
    }
    Ok(())
}
