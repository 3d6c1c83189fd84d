//! What an app has from a unit of its image, where its plan asks for it.

use std::path::Path;

use anyhow::{Context, Result};

use super::super::isolators::Isolation;
use super::super::request::AppRequest;
use super::super::tree::Tree;
use super::super::unit::{Planning, Service, Who};
use super::super::user;
use super::Planner;
use crate::image::manifest::App;

/// Puts the unit's user into the app section, unless the user or a pod manifest says another: the
/// image's own section speaks of another command.
///
/// # Errors
/// Where the image has no such user or group.
pub fn set_user(section: &mut App, request: &AppRequest, tree: &Tree, who: &Who) -> Result<()> {
    section.working_directory = match &request.app {
        Some(app) => app.working_directory.clone(),
        None => None,
    };
    if request.working_directory.is_some() {
        section
            .working_directory
            .clone_from(&request.working_directory);
    }
    if request.app.is_some() {
        return Ok(());
    }
    let named = who.user.as_ref().filter(|_| !who.is_dynamic);
    let own = request.user.as_ref().or(named);
    section.user = own.cloned().unwrap_or_else(|| "0".to_string());
    let uid = user::find_user(tree, &section.user)
        .context("User= of the unit")?
        .uid;
    let (gid, mut gids) = match own {
        Some(name) => user::own_groups(tree, name, uid)?,
        None => (0, Vec::new()),
    };
    let find = |name: &String| user::find_group(tree, name).context("a group of the unit");
    let group = who.group.as_ref().filter(|_| !who.is_dynamic);
    let gid = group.map(find).transpose()?.unwrap_or(gid);
    if !who.is_dynamic {
        for name in &who.supplementary {
            let gid = find(name)?;
            if !gids.contains(&gid) {
                gids.push(gid);
            }
        }
    }
    section.group = Some(gid.to_string());
    section.supplementary_gids = gids;
    if request.group.is_some() {
        section.group.clone_from(&request.group);
    }
    if let Some(gids) = &request.supplementary_gids {
        section.supplementary_gids.clone_from(gids);
    }
    Ok(())
}

impl Planner<'_> {
    /// What the unit says; `who` it says that it runs as.
    pub(super) fn of_unit(&self, who: Who, isolation: &Isolation) -> Result<Option<Service>> {
        let Some(unit) = self.surroundings.unit else {
            return Ok(None);
        };
        let credentials = self.credentials()?;
        let is_root = credentials == Default::default();
        let who = Who {
            is_dynamic: who.is_dynamic && is_root && self.request.user.is_none(),
            ..who
        };
        let asked = self.request.unit.iter().flat_map(|asked| &asked.arguments);
        let arguments: Vec<_> = asked.chain(&self.request.arguments).cloned().collect();
        let arguments = self.places.fill_in_words(&arguments)?;
        let account = self.user.account.as_ref();
        let mut filters = isolation.settings.iter();
        let planning = Planning {
            app: self.name,
            request: self.request,
            unit,
            tree: self.tree,
            root: self.root,
            pod: self.surroundings.pod,
            host: Path::new("/"),
            home: account.map(|account| account.home.as_str()),
            own_variables: self.own_variables()?,
            has_capabilities: isolation.capabilities.is_some(),
            has_filter: filters.any(|setting| setting.key == "SystemCallFilter"),
        };
        let service = planning.plan(who, is_root, &arguments);
        let service = service.with_context(|| format!("unit {}", unit.name.full))?;
        Ok(Some(service))
    }
}
