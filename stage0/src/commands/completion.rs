//! `skim completion`: what a shell needs to complete skim's command lines.

use anyhow::Result;
use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate};
use stage1_skim::stdio;

use crate::cli::Arguments;

const HELP: &str = "\
Examples:
  skim completion bash >/etc/bash_completion.d/skim
  skim completion zsh >/usr/local/share/zsh/site-functions/_skim
  skim completion fish >/etc/fish/completions/skim.fish";

/// Arguments of `skim completion`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct CompletionArguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Where it cannot be printed.
pub fn run(arguments: &CompletionArguments) -> Result<u8> {
    stdio::print_bytes(&script(arguments.shell))?;
    Ok(0)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut visible(), "skim", &mut script);
    script
}

/// The command line without what help does not show.
fn visible() -> Command {
    let command = Arguments::command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    Command::new("skim")
        .args(command.get_arguments())
        .subcommands(verbs)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["run", "cat-manifest", "grace-period", "extract"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            assert!(!script.contains("metadata-service"), "{shell}");
        }
    }
}
