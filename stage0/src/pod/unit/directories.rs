//! `RuntimeDirectory=`, `StateDirectory=`, … of a unit whose user stage1-skim changes to
//! (systemd.exec(5)): stage1-skim makes them then, as systemd would give them to root. Pure.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::pod::DirectoryPlan;
use stage1_skim::unit::Setting;
use stage1_skim::unit_file::split_words;

use super::specifiers::UnitName;

/// What such a directive begins with, where its directories are, and the variable that tells.
/// `ConfigurationDirectory=` is root's in any case.
const KINDS: [(&str, &str, &str); 4] = [
    ("Runtime", "/run", "RUNTIME_DIRECTORY"),
    ("State", "/var/lib", "STATE_DIRECTORY"),
    ("Cache", "/var/cache", "CACHE_DIRECTORY"),
    ("Logs", "/var/log", "LOGS_DIRECTORY"),
];

/// Most directories of a kind.
const DIRECTORIES_MAX: usize = 64;

/// What makes other directories unwritable for a service.
const CLOSES: [&str; 3] = ["ProtectSystem", "ReadOnlyDirectories", "ReadOnlyPaths"];

/// The directories, as the unit's lines are read.
#[derive(Default)]
pub struct Directories {
    names: [Vec<String>; 4],
    modes: [Option<u32>; 4],
    are_kept: bool,
}

/// The directories of a unit.
pub struct Finished {
    /// What stage1-skim makes.
    pub plans: Vec<DirectoryPlan>,
    /// The variables that systemd would set.
    pub variables: Vec<(String, String)>,
}

impl Directories {
    /// Whether a directive is one of these.
    pub fn is_one(&self, key: &str) -> bool {
        parse(key).is_some()
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Where a name is no path beneath its directory, or a mode none.
    pub fn add(&mut self, key: &str, value: &str, name: &UnitName) -> Result<()> {
        let (kind, what) = parse(key).context("it is no directory")?;
        let failed = || format!("{key}=");
        match what {
            "Mode" => {
                let mode = u32::from_str_radix(value, 8).ok();
                let mode = mode.filter(|mode| *mode <= 0o7777);
                self.modes[kind] = Some(mode.context("it is no mode").with_context(failed)?);
            }
            "Preserve" => self.are_kept = value != "no",
            _ if value.is_empty() => self.names[kind].clear(),
            _ => {
                for word in split_words(value).with_context(failed)? {
                    let word = name.data(&word).with_context(failed)?;
                    check(&word).with_context(failed)?;
                    if !self.names[kind].contains(&word) {
                        self.names[kind].push(word);
                    }
                }
                ensure!(
                    self.names[kind].len() <= DIRECTORIES_MAX,
                    "{key}= has over {DIRECTORIES_MAX} directories"
                );
            }
        }
        Ok(())
    }

    /// All of them.
    pub fn finish(self) -> Finished {
        let mut plans = Vec::new();
        let mut variables = Vec::new();
        for (kind, (_, base, variable)) in KINDS.iter().enumerate() {
            let names = self.names[kind].iter();
            let paths: Vec<_> = names.map(|name| format!("{base}/{name}")).collect();
            if !paths.is_empty() {
                variables.push((variable.to_string(), paths.join(":")));
            }
            plans.extend(paths.into_iter().map(|path| DirectoryPlan {
                path: PathBuf::from(path),
                mode: self.modes[kind].unwrap_or(0o755),
                is_removed: kind == 0 && !self.are_kept,
            }));
        }
        Finished { plans, variables }
    }
}

impl Finished {
    /// Which of them are to be left writable, where the unit's settings close the rest.
    pub fn writable(&self, settings: &[Setting]) -> Vec<String> {
        let mut keys = settings.iter().map(|setting| setting.key.as_str());
        if !keys.any(|key| CLOSES.contains(&key)) {
            return Vec::new();
        }
        let paths = self.plans.iter().map(|plan| &plan.path);
        paths.map(|path| path.display().to_string()).collect()
    }
}

/// Which kind a directive is of, and what comes after `Directory` in it.
fn parse(key: &str) -> Option<(usize, &str)> {
    KINDS.iter().enumerate().find_map(|(kind, (begin, ..))| {
        let what = key.strip_prefix(begin)?.strip_prefix("Directory")?;
        matches!(what, "" | "Mode" | "Preserve").then_some((kind, what))
    })
}

fn check(name: &str) -> Result<()> {
    if name.contains(':') {
        bail!("`{}` asks for a link, too", name.escape_debug());
    }
    let mut parts = Path::new(name).components();
    let is_plain = parts.all(|part| matches!(part, Component::Normal(_)));
    let is_text = !name.is_empty() && !name.chars().any(char::is_control);
    ensure!(
        is_plain && is_text,
        "`{}` is no path beneath it",
        name.escape_debug()
    );
    Ok(())
}
