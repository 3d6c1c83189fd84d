//! One verb each: its arguments, the call, and what it prints.

use anyhow::Result;

use self::refused_verbs::Refused;
use crate::cli::{Arguments, Verb};
use crate::host::Host;

pub mod app_arguments;
pub mod app_flags;
pub mod cat_manifest;
pub mod check;
pub mod completion;
pub mod config;
pub mod enter;
mod environment_file;
pub mod export;
pub mod fetch;
pub mod gc;
#[cfg(test)]
mod help_tests;
pub mod image;
pub mod image_flags;
pub mod json;
mod launch;
pub mod list;
pub mod logs;
mod making;
pub mod man;
pub mod output;
pub mod pod_arguments;
pub mod pod_selection;
pub mod prepare;
mod progress;
pub mod refused_verbs;
pub mod rm;
pub mod rollback;
pub mod run;
pub mod run_prepared;
pub mod service;
pub mod status;
pub mod stop;
pub mod trust;
pub mod update;
mod updating;
pub mod version;

/// Carries out the verb; returns the exit code.
///
/// # Errors
/// Whatever goes wrong, in one line.
pub fn dispatch(arguments: Arguments) -> Result<u8> {
    let host = Host::new(arguments.global)?;
    match arguments.verb {
        Verb::Run(arguments) => run::run(&host, &arguments),
        Verb::Prepare(arguments) => prepare::run(&host, &arguments),
        Verb::RunPrepared(arguments) => run_prepared::run(&host, &arguments),
        Verb::Fetch(arguments) => fetch::run(&host, &arguments),
        Verb::Image(verb) => image::run(&host, &verb),
        Verb::Trust(arguments) => trust::run(&host, &arguments),
        Verb::List(arguments) => list::run(&host, &arguments),
        Verb::Status(arguments) => status::run(&host, &arguments),
        Verb::Logs(arguments) => logs::run(&host, &arguments),
        Verb::Enter(arguments) => enter::run(&host, &arguments),
        Verb::Stop(arguments) => stop::run(&host, &arguments),
        Verb::Rm(arguments) => rm::run(&host, &arguments),
        Verb::Gc(arguments) => gc::run(&host, &arguments),
        Verb::CatManifest(arguments) => cat_manifest::run(&host, &arguments),
        Verb::Export(arguments) => export::run(&host, &arguments),
        Verb::Config(_) => config::run(&host),
        Verb::Version(arguments) => version::run(&host, &arguments),
        Verb::Completion(arguments) => completion::run(&arguments),
        Verb::Check(arguments) => check::run(&host, &arguments),
        Verb::Update(arguments) => update::run(&host, &arguments),
        Verb::Rollback(arguments) => rollback::run(&host, &arguments),
        Verb::Service(verb) => service::run(&host, &verb),
        Verb::Man(arguments) => man::run(&arguments),
        Verb::Attach(_) => refused_verbs::run(Refused::Attach),
        Verb::ApiService(_) => refused_verbs::run(Refused::ApiService),
        Verb::MetadataService(_) => refused_verbs::run(Refused::MetadataService),
        Verb::App(_) => refused_verbs::run(Refused::App),
    }
}
