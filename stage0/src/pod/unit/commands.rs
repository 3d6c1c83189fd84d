//! The commands of an image's unit (systemd.service(5), "Command lines").

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::escape;
use stage1_skim::pod::{CommandPlan, ExecPlan, Privileges};
use stage1_skim::unit::Setting;
use stage1_skim::unit_file::first_word;

use super::find::UnitLine;
use super::paths::Paths;
use super::refuse;
use super::specifiers::UnitName;

/// The directives that hold commands.
const KEYS: [&str; 7] = [
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// Most commands of a unit.
const COMMANDS_MAX: usize = 256;

/// Whether a directive holds commands.
pub fn is_command(key: &str) -> bool {
    KEYS.contains(&key)
}

/// The commands of a unit, as its lines are read.
#[derive(Default)]
pub struct Commands(Vec<CommandPlan>);

impl Commands {
    /// Adds those of a line, or takes back all of its key where it is empty.
    ///
    /// # Errors
    /// Where it is no command line, or one that skim cannot have.
    pub fn add(&mut self, line: &UnitLine, name: &UnitName, paths: &Paths<'_>) -> Result<()> {
        let mut rest = line.value.as_str();
        if rest.trim().is_empty() {
            self.0.retain(|command| command.key != line.key);
        }
        while !rest.trim().is_empty() {
            let (command, after) =
                command(&line.key, rest, name, paths).with_context(|| format!("{}=", line.key))?;
            self.0.push(command);
            rest = after;
            ensure!(
                self.0.len() <= COMMANDS_MAX,
                "the unit has over {COMMANDS_MAX} commands"
            );
        }
        Ok(())
    }

    /// Appends data to the command that is the app.
    ///
    /// # Errors
    /// Where there are several.
    pub fn append(&mut self, arguments: &[String]) -> Result<()> {
        let commands = self.0.iter_mut();
        let mut starts: Vec<_> = commands.filter(|c| c.key == "ExecStart").collect();
        match starts.as_mut_slice() {
            _ if arguments.is_empty() => Ok(()),
            [start] => {
                let keeps = start.keeps_variables;
                let words = arguments.iter().map(|word| escape::literal(word, keeps));
                start.exec.argv.extend(words);
                Ok(())
            }
            others => bail!(
                "arguments can be appended to one ExecStart= only, and the unit has {}",
                others.len()
            ),
        }
    }

    /// Has root run all but the app itself (`PermissionsStartOnly=`).
    pub fn make_root(&mut self) {
        let commands = self.0.iter_mut().filter(|c| c.key != "ExecStart");
        for command in commands.filter(|c| c.privileges == Privileges::User) {
            command.privileges = Privileges::Root;
        }
    }

    /// The commands, `settings` being the unit's others.
    ///
    /// # Errors
    /// Where there is no `ExecStart=`, or more than the unit's `Type=` can have.
    pub fn finish(self, settings: &[Setting]) -> Result<Vec<CommandPlan>> {
        let kind = settings.iter().rev().find(|setting| setting.key == "Type");
        let is_oneshot = kind.is_some_and(|setting| setting.value.trim() == "oneshot");
        let starts = self.0.iter().filter(|command| command.key == "ExecStart");
        match starts.count() {
            0 => bail!("the unit has no ExecStart=, and so nothing to run"),
            1 => (),
            _ if is_oneshot => (),
            count => bail!("the unit has {count} ExecStart=, which takes Type=oneshot"),
        }
        Ok(self.0)
    }
}

/// The first command of `text`, and what comes after it.
fn command<'a>(
    key: &str,
    text: &'a str,
    name: &UnitName,
    paths: &Paths<'_>,
) -> Result<(CommandPlan, &'a str)> {
    let (first, mut rest) = first_word(text)?.context("it is empty")?;
    let path = first.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefixes = &first[..first.len() - path.len()];
    if prefixes.contains('|') {
        return refuse(key, "the prefix | (a shell of the user's) is not supported");
    }
    let keeps_variables = prefixes.contains(':');
    let program = paths.program(&name.data(path)?)?;
    let whole = program
        .to_str()
        .context("the path of the pod is not UTF-8")?;
    let mut argv = Vec::new();
    if !prefixes.contains('@') {
        argv.push(escape::literal(whole, keeps_variables));
    }
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\t']);
    loop {
        if let Some(after) = rest.strip_prefix(';').filter(|rest| is_end(rest)) {
            rest = after;
            break;
        }
        if let Some(after) = rest.strip_prefix("\\;").filter(|rest| is_end(rest)) {
            argv.push(";".to_string());
            rest = after.trim_start();
            continue;
        }
        let Some((word, after)) = first_word(rest)? else {
            rest = "";
            break;
        };
        rest = after;
        argv.push(match prefixes.contains('@') && argv.is_empty() {
            true => name.expand(&word)?,
            false => paths.argument(&name.expand(&word)?, keeps_variables)?,
        });
    }
    ensure!(!argv.is_empty(), "the prefix @ takes a word for argv[0]");
    let privileges = match (prefixes.contains('+'), prefixes.matches('!').count()) {
        (true, _) => Privileges::Full,
        (false, 1) => Privileges::Root,
        // Of `!!` nothing is left on kernels with ambient capabilities.
        (false, _) => Privileges::User,
    };
    let command = CommandPlan {
        key: key.to_string(),
        exec: ExecPlan {
            path: program,
            argv,
        },
        keeps_variables,
        may_fail: prefixes.contains('-'),
        privileges,
    };
    Ok((command, rest))
}
