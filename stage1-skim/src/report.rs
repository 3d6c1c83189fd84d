//! What the holder tells of an app that has failed: one line with the cause, the last lines of
//! the journal, and the command that shows more.

use crate::bus::ServiceDetail;
use crate::diagnosis::{self, Facts};
use crate::pod_dir::PodDir;
use crate::progress::{self, Ended};
use crate::relay::Tails;
use crate::scope::RuntimeScope;
use crate::{journal, logging};

/// How many of the last entries about the app are looked at.
const JOURNAL_ENTRIES: usize = 100;

/// Reports that the app of `service` has failed. `is_output_shown` says that what it printed is
/// on the screen already; `output` is what a relay has kept of it, where it can be had from
/// there.
pub fn report(
    pod: &PodDir,
    service: &str,
    ended: &Ended,
    detail: &ServiceDetail,
    is_output_shown: bool,
    output: Option<Tails>,
) {
    let apps = &pod.plan.apps;
    let Some(app) = apps
        .iter()
        .find(|app| pod.units.service(&app.name) == service)
    else {
        return;
    };
    // Where its socket has failed, that is what there is to tell.
    let culprit = match &detail.failed_socket {
        Some(socket) if ended.result == progress::SOCKET_FAILED => &socket.unit,
        _ => service,
    };
    let journal = match output {
        Some(mut tails) => tails.take(&app.name),
        None => journal::tail(culprit, JOURNAL_ENTRIES).unwrap_or_else(|error| {
            log::debug!("{error:#}");
            Vec::new()
        }),
    };
    let facts = Facts {
        app,
        service: culprit,
        ended,
        detail,
        journal: &journal,
    };
    let finding = facts
        .suspect()
        .and_then(|suspect| diagnosis::look(app, suspect));
    log::error!("{}", facts.headline(finding.as_ref()));
    for line in diagnosis::excerpt(culprit, &journal, is_output_shown) {
        logging::detail(&format!("    {line}"));
    }
    let scope = match pod.plan.scope {
        RuntimeScope::System => "",
        RuntimeScope::User => "--user ",
    };
    log::info!("see: skim {scope}logs {} {}", pod.plan.uuid, app.name);
}
