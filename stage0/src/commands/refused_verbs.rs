//! Verbs of rkt's that cannot make sense here: they are refused by name, with what to use.

use std::ffi::OsString;

use anyhow::{Result, bail};
use clap::Args;

/// Arguments of a verb that is refused: whatever they are.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct RefusedArguments {
    /// Not looked at
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<OsString>,
}

/// A verb that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `rkt attach`.
    Attach,
    /// `rkt api-service`.
    ApiService,
    /// `rkt metadata-service`.
    MetadataService,
    /// `rkt app`.
    App,
}

/// Says why, and what to use instead.
///
/// # Errors
/// That is one.
pub fn run(verb: Refused) -> Result<u8> {
    bail!(match verb {
        Refused::Attach =>
            "there is no attach: an app's streams are the journal's or its caller's; use skim logs -f, or skim run --interactive",
        Refused::ApiService =>
            "there is no api-service: nothing of skim runs but pods; use skim list --format=json, skim status --format=json and systemd's D-Bus interface",
        Refused::MetadataService =>
            "there is no metadata-service: nothing of skim runs but pods; an app finds AC_APP_NAME in its environment, others use skim status --format=json and skim cat-manifest",
        Refused::App =>
            "there is no app, rkt's experiment with pods that change: a pod's apps are named when it is made; use skim run, and another pod for another app",
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::cli::Arguments;
    use crate::commands::dispatch;

    #[test]
    fn whatever_the_arguments_it_is_said_why_and_what_to_use() {
        for (line, says) in [
            ("skim attach", "skim logs -f"),
            ("skim attach --mode=stdout 6ba7 --app x", "skim logs -f"),
            ("skim api-service --listen=:1", "--format=json"),
            ("skim metadata-service", "--format=json"),
            ("skim app add --help", "skim run"),
        ] {
            let line = format!("{line} --dir=/nowhere");
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            let error = format!("{:#}", dispatch(arguments).unwrap_err());
            let verb = line.split(' ').nth(1).unwrap();
            assert!(error.starts_with(&format!("there is no {verb}")), "{error}");
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn help_does_not_show_them() {
        let help = Arguments::command().render_long_help().to_string();
        for verb in ["attach", "api-service", "metadata-service", "  app "] {
            assert!(!help.contains(verb), "{verb}");
        }
    }
}
