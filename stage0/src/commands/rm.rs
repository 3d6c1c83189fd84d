//! `skim rm`: removes pods that do not run.

use anyhow::{Context, Result, bail};
use clap::Args;
use stage1_skim::stdio;

use super::output::for_each;
use super::pod_selection::ManyPods;
use crate::gc::{Action, Collector};
use crate::host::Host;
use crate::pod::directory::{Found, Pods};
use crate::pod::state::State;

const HELP: &str = "\
Examples:
  skim rm 6ba7b810 550e8400
  skim rm --uuid-file=/run/web.uuid

Pods that have exited and pods that were prepared are removed, with all that their apps wrote.";

/// Arguments of `skim rm`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct RmArguments {
    /// Which pods.
    #[command(flatten)]
    pub pods: ManyPods,
}

/// Removes the pods and prints their UUIDs.
///
/// # Errors
/// Where one runs or cannot be removed; the others are.
pub fn run(host: &Host, arguments: &RmArguments) -> Result<u8> {
    host.check_caller()?;
    let pods = Pods::new(&host.directory);
    let prefixes = arguments.pods.prefixes()?;
    let mut collector = Collector::new(&pods, host)?;
    let code = for_each(&prefixes, |prefix| {
        let found = pods.find(prefix)?;
        let Some(pod) = pods.try_lock(&found)? else {
            bail!(refusal(&found));
        };
        collector
            .apply(pod, Action::Remove)
            .with_context(|| format!("cannot remove the pod {}", found.uuid))?;
        stdio::print(&format!("\"{}\"\n", found.uuid))?;
        Ok(())
    })?;
    collector.finish()?;
    Ok(code)
}

/// Why a pod whose lock somebody else holds is not removed, by the state that it was found in.
/// Pure.
fn refusal(found: &Found) -> String {
    let why = match found.state {
        State::Running => "stop it first (skim stop)",
        State::Preparing => "wait until it is prepared",
        State::ExitedDeleting | State::Deleting => "somebody else is removing it",
        // Its lock was free when it was found.
        _ => "somebody else has just taken it: look again (skim list)",
    };
    format!("pod {} is {}: {why}", found.uuid, found.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::Stage;

    #[test]
    fn a_refusal_says_what_to_do() {
        for (stage, is_locked, says) in [
            (Stage::Run, true, "is running: stop it first"),
            (Stage::Prepare, true, "is preparing: wait"),
            (Stage::ExitedGarbage, true, "is exited deleting: somebody"),
            (Stage::Prepared, false, "is prepared: somebody else has"),
        ] {
            let text = refusal(&Found {
                uuid: "6ba7".into(),
                stage,
                state: State::of(stage, is_locked),
                path: "/".into(),
            });
            assert!(text.contains(says), "{text}");
        }
    }
}
