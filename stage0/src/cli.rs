//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use stage1_skim::names::EXIT_ERROR;
use stage1_skim::stdio;

use crate::commands::refused_verbs::RefusedArguments;
use crate::commands::{
    app_arguments, cat_manifest, check, completion, config, enter, export, fetch, gc, image, list,
    logs, man, prepare, rm, rollback, run, run_prepared, service, status, stop, trust, update,
    version,
};
use crate::refused;

/// The exit code where no verb is given, as rkt's.
const EXIT_NO_VERB: u8 = 2;

/// What stands above the flags of every verb: they are not mixed with the verb's own.
const HEADING: &str = "Global options";

const EXAMPLES: &str = "\
Examples:
  skim run --detach docker.aci containerd.aci    run two images as one pod
  skim fetch docker://registry.example.com/app   an image from a registry into the store
  skim list                                      the pods there are
  skim logs -f 6ba7b810 docker                   follow an app's log
  skim enter 6ba7b810 --app=docker -- docker ps  run a program of the image
  skim stop 6ba7b810                             stop a pod
  skim gc                                        take every exited pod away

A pod is named by its UUID or the beginning of it. Its apps are services of systemd: systemctl
and journalctl work as with any other.

Exit codes: 254 for an error of skim's own, 2 where no verb is given; run exits with the pod's.";

/// Run the apps of a pod straight on this host, out of container images, as systemd services
#[derive(Debug, Parser)]
#[command(name = "skim", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb.
#[derive(Args, Debug)]
pub struct GlobalArguments {
    /// Run pods of an unprivileged user under their own service manager; before the verb only
    #[arg(long = "user", help_heading = HEADING)]
    pub user_scope: bool,
    /// Where images and pods are kept [default: /var/lib/skim; with --user $XDG_DATA_HOME/skim,
    /// which is ~/.local/share/skim]
    #[arg(long, global = true, help_heading = HEADING, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Say what is done
    #[arg(long, global = true, help_heading = HEADING)]
    pub debug: bool,
    /// The stage1 to use [default: SKIM_STAGE1, or the one beside skim]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    pub stage1_path: Option<PathBuf>,
    /// Where the vendor's pod files, trusted keys and policy are
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        value_name = "DIR",
        default_value = "/usr/lib/skim"
    )]
    pub system_config: PathBuf,
    /// Where the administrator's pod files, trusted keys and policy are, which take precedence [default:
    /// /etc/skim]; with --user, the user's, which do over those [default: $XDG_CONFIG_HOME/skim,
    /// which is ~/.config/skim]
    #[arg(long, global = true, help_heading = HEADING, value_name = "DIR")]
    pub local_config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run images as the apps of a pod
    Run(run::RunArguments),
    /// Make a pod of images, to be run later
    Prepare(prepare::PrepareArguments),
    /// Run a pod that was prepared
    RunPrepared(run_prepared::RunPreparedArguments),
    /// Import images into the store
    Fetch(fetch::FetchArguments),
    /// Look into images of the store, remove and export them
    #[command(subcommand, after_help = image::HELP)]
    Image(image::ImageVerb),
    /// Trust keys that sign images
    Trust(trust::TrustArguments),
    /// List pods
    #[command(visible_alias = "ls")]
    List(list::ListArguments),
    /// Show pods, and wait for them
    Status(status::StatusArguments),
    /// Show the apps' logs
    Logs(logs::LogsArguments),
    /// Run a command out of an app's rootfs
    Enter(enter::EnterArguments),
    /// Print a pod as appc's pod manifest
    CatManifest(cat_manifest::CatManifestArguments),
    /// Write what an app has left as an image
    Export(export::ExportArguments),
    /// Stop pods
    Stop(stop::StopArguments),
    /// Remove pods that do not run
    Rm(rm::RmArguments),
    /// Remove all pods that have exited
    Gc(gc::GcArguments),
    /// Check pod files, from which systemd runs pods
    Check(check::CheckArguments),
    /// Run what the images of a service's pod file are called now
    Update(update::UpdateArguments),
    /// Run images that a service ran from before
    Rollback(rollback::RollbackArguments),
    /// Print the configuration
    Config(config::ConfigArguments),
    /// Print the versions of skim, its stage1 and systemd
    Version(version::VersionArguments),
    /// Print what a shell needs to complete skim's command lines
    Completion(completion::CompletionArguments),
    /// What the units of pod files call
    #[command(subcommand, hide = true)]
    Service(service::ServiceVerb),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::ManArguments),
    /// Not there: see skim logs
    #[command(hide = true)]
    Attach(RefusedArguments),
    /// Not there: see skim list
    #[command(hide = true)]
    ApiService(RefusedArguments),
    /// Not there: see skim status
    #[command(hide = true)]
    MetadataService(RefusedArguments),
    /// Not there: see skim run
    #[command(hide = true)]
    App(RefusedArguments),
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// The command with all its verbs.
pub fn command() -> Command {
    with_examples_first(Arguments::command())
}

/// Whoever asks for help sees the commonest use before the flags.
fn with_examples_first(command: Command) -> Command {
    let command = match command.get_after_help() {
        Some(_) => command.help_template(
            "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n{all-args}",
        ),
        None => command,
    };
    command.mut_subcommands(with_examples_first)
}

/// Parses the command line. `Err` is how to exit: the message or the help is printed already.
///
/// # Errors
/// As it says.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, ExitCode> {
    let words: Vec<_> = arguments.collect();
    let matches = command().try_get_matches_from(&words);
    let matches = matches.map_err(|error| refuse_words(&error, &words))?;
    if let Some(("run" | "prepare", matches)) = matches.subcommand() {
        app_arguments::check_places(matches).map_err(|error| {
            stdio::complain(&format!("skim: error: {error:#}"));
            ExitCode::from(EXIT_ERROR)
        })?;
    }
    Arguments::from_arg_matches(&matches).map_err(|error| refuse(&error))
}

/// As [`refuse`]; `words` are those of the command line.
fn refuse_words(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let last = |those: &[&str]| {
        words
            .iter()
            .rposition(|word| those.iter().any(|one| word == one))
    };
    // `run --user IMAGE`: the image is taken for the user.
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let (Some(verb), Some(user)) = (last(&["run", "prepare"]), last(&["--user"]))
        && user > verb
    {
        stdio::complain(&format!("skim: error: {MISPLACED_USER}"));
        return ExitCode::from(EXIT_ERROR);
    }
    refuse(error)
}

/// Prints what clap has to say; returns how to exit.
fn refuse(error: &clap::Error) -> ExitCode {
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            EXIT_NO_VERB
        }
        _ => EXIT_ERROR,
    };
    if code == EXIT_ERROR {
        stdio::complain(&format!("skim: error: {}", one_line(error)));
    } else {
        // Nothing is left to tell where standard output is gone.
        let _ = error.print();
    }
    ExitCode::from(code)
}

/// clap's message on one line: its first paragraph, and where help is to be had.
pub fn one_line(error: &clap::Error) -> String {
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && let Some(why) = refused::why(flag)
    {
        return why;
    }
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && flag.starts_with("--user")
        && let Some(where_to) = misplaced_user(error.kind())
    {
        return where_to.to_string();
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    format!("{} (see --help)", message.join("; "))
}

/// Where both flags of this name belong.
const MISPLACED_USER: &str = "--user must stand before the verb (skim --user VERB); the user of an \
                              app is said by --user=NAME after its image";

/// What is meant by a `--user` that is neither flag where it stands.
fn misplaced_user(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::UnknownArgument => Some(MISPLACED_USER),
        ErrorKind::TooManyValues => Some(
            "--user before the verb takes no value: it means pods of your own (skim --user VERB); \
             the user of an app is said by --user=NAME after its image",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_flags_of_this_name_have_their_place() {
        let words = ["skim", "--user", "run", "a.aci", "--user=web"];
        let matches = command().try_get_matches_from(words).unwrap();
        let arguments = Arguments::from_arg_matches(&matches).unwrap();
        assert!(arguments.global.user_scope);
        for (words, says) in [
            (&["skim", "list", "--user"][..], "before the verb"),
            (&["skim", "--user=web", "list"], "takes no value"),
        ] {
            let error = command().try_get_matches_from(words).unwrap_err();
            let said = one_line(&error);
            assert!(said.starts_with("--user") && said.contains(says), "{said}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_rkt_had_is_refused_by_name() {
        let words = ["skim", "fetch", "--no-store", "a"];
        let error = command().try_get_matches_from(words).unwrap_err();
        assert!(one_line(&error).starts_with("--no-store cannot be used: "));
    }

    #[test]
    fn errors_are_one_line() {
        let error = Arguments::try_parse_from(["skim", "stop", "--forc", "x"]).unwrap_err();
        let line = one_line(&error);
        assert!(!line.contains('\n'), "{line}");
        assert!(
            line.contains("--forc") && line.contains("--force"),
            "{line}"
        );
    }
}
