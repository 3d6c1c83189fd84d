//! `skim gc`: takes away all pods that have exited, or never came to run.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::gc::ProcessesLiveOn;
use stage1_skim::pod_dir::read_plan;
use stage1_skim::stdio;
use stage1_skim::write::UnitDirectory;

use super::output::for_each;
use super::updating;
use crate::gc::{Action, Collector, Rules, action, moved_at};
use crate::host::Host;
use crate::pod::directory::{Found, Pods};
use crate::pod_file::SearchPath;
use crate::service::directory::{self, ServiceDirectory};
use crate::service::forgotten::{Traces, is_forgotten};
use crate::service::versions::Versions;

const HELP: &str = "\
Examples:
  skim gc
  skim gc --grace-period=30m   keep the directories of pods that exited in the last half hour
  skim gc --mark-only          take exited pods' units and mounts away, keep their directories
  skim gc --dry-run

A pod that has exited is marked: its units and mounts go, its directory stays for the grace
period, which counts from then. Without a grace period it goes in the same run. What broke off
while it was being prepared goes at once. The versions of a service go, too, where its pod file
and its pods are gone, and the newest version is older than a day.";

/// Arguments of `skim gc`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct GcArguments {
    /// How long to keep an exited pod's directory after its units and mounts are gone
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub grace_period: Duration,
    /// How long to keep pods that were prepared and have not been run
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    pub expire_prepared: Duration,
    /// Only mark what has exited, and remove nothing
    #[arg(long)]
    pub mark_only: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Collects garbage.
///
/// # Errors
/// Where a pod cannot be taken away; the others are.
pub fn run(host: &Host, arguments: &GcArguments) -> Result<u8> {
    host.check_caller()?;
    let code = collect(host, arguments)?;
    match arguments.mark_only {
        true => Ok(code),
        false => Ok(code.max(forget(host, arguments.dry_run)?)),
    }
}

/// Takes pods away.
fn collect(host: &Host, arguments: &GcArguments) -> Result<u8> {
    let pods = Pods::new(&host.directory);
    let now = SystemTime::now();
    let rules = Rules {
        grace_period: arguments.grace_period,
        expire_prepared: arguments.expire_prepared,
        mark_only: arguments.mark_only,
    };
    let todo: Vec<(Found, Action)> = pods
        .list()?
        .into_iter()
        .filter_map(|found| {
            let action = action(found.state, moved_at(&found), &rules, now)?;
            Some((found, action))
        })
        .collect();
    if arguments.dry_run {
        for (found, action) in &todo {
            stdio::print(&format!(
                "{} {} ({})\n",
                would(*action),
                found.uuid,
                found.state
            ))?;
        }
        return Ok(0);
    }
    let may_be_left = pods.exist() && UnitDirectory::has_root_slice(&host.manager()?);
    if todo.is_empty() && !may_be_left {
        return Ok(0);
    }
    let mut collector = Collector::new(&pods, host)?;
    let code = for_each(&todo, |(found, action)| {
        // Somebody else came first: it is in good hands.
        let Some(pod) = pods.try_lock(found)? else {
            return Ok(());
        };
        match collector.apply(pod, *action) {
            // It was meant to be so; there is nothing for anybody to do.
            Err(error) if error.is::<ProcessesLiveOn>() => {
                log::warn!("the pod {} stays: {error:#}", found.uuid);
                return Ok(());
            }
            outcome => {
                outcome.with_context(|| format!("cannot take the pod {} away", found.uuid))?;
            }
        }
        stdio::print(&format!("{} {}\n", did(*action), found.uuid))?;
        Ok(())
    })?;
    collector.finish()?;
    Ok(code)
}

/// Takes the versions of services away whose pod files are gone: they would keep their images.
fn forget(host: &Host, dry_run: bool) -> Result<u8> {
    let services = directory::names(&host.directory)?;
    if services.is_empty() {
        return Ok(0);
    }
    let path = SearchPath::new(&host.config);
    let with_pods = with_pods(&Pods::new(&host.directory))?;
    for_each(&services, |name| {
        let traces = Traces {
            has_file: path.may_have(name),
            has_pod: with_pods.as_ref().is_none_or(|names| names.contains(name)),
        };
        // Most are in use: those need not be opened.
        if traces.has_file || traces.has_pod {
            return Ok(());
        }
        let is_over = |versions: &Versions| is_forgotten(traces, versions, updating::now());
        if dry_run {
            if is_over(&ServiceDirectory::peek(&host.directory, name)?) {
                stdio::print(&format!("would remove the versions of {name}\n"))?;
            }
        } else if ServiceDirectory::remove(&host.directory, name, is_over)? {
            stdio::print(&format!("removed the versions of {name}\n"))?;
        }
        Ok(())
    })
}

/// The services that there are pods of; `None` where a pod's plan cannot be read.
fn with_pods(pods: &Pods) -> Result<Option<BTreeSet<String>>> {
    let mut names = BTreeSet::new();
    for found in pods.list()? {
        match read_plan(&found.path) {
            Ok(plan) => names.extend(plan.service.map(|service| service.name)),
            Err(error) => {
                log::debug!("pod {}: {error:#}", found.uuid);
                return Ok(None);
            }
        }
    }
    Ok(Some(names))
}

fn would(action: Action) -> &'static str {
    match action {
        Action::Mark => "would mark",
        Action::Remove => "would remove",
    }
}

fn did(action: Action) -> &'static str {
    match action {
        Action::Mark => "marked",
        Action::Remove => "removed",
    }
}
