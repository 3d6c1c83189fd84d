//! Unit files of an image: found, with their drop-ins, as systemd.unit(5) finds those of a host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::FileType;
use stage1_skim::names::UNIT_NAME_MAX;
use stage1_skim::unit_file;

use super::specifiers::UnitName;
use crate::pod::tree::Tree;

/// Where an image has units, those of the first winning ("Unit File Load Path").
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Most files in a directory of drop-ins that are looked at.
const DROPINS_MAX: usize = 256;

/// A line of a unit of the image, or of one of its drop-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitLine {
    /// The file, a path of the image.
    pub file: String,
    /// The line's number in it.
    pub number: usize,
    /// The section.
    pub section: String,
    /// The directive.
    pub key: String,
    /// Its value, as it stands.
    pub value: String,
}

impl UnitLine {
    /// Where it stands, for messages.
    pub fn place(&self) -> String {
        let file = self.file.escape_debug();
        format!("{file} of the image, line {}", self.number)
    }
}

/// A unit of the image.
#[derive(Clone, Debug)]
pub struct ImageUnit {
    /// Its name, links followed.
    pub name: UnitName,
    /// All names that it goes by: that which was asked for, its own, and those of `Alias=`.
    pub names: BTreeSet<String>,
    /// Its lines, then those of its drop-ins.
    pub lines: Vec<UnitLine>,
}

/// The name of a service, `.service` appended where it has no ending.
///
/// # Errors
/// Where it is no name of a service.
pub fn service_name(name: &str) -> Result<String> {
    let whole = match name.contains('.') {
        true => name.to_string(),
        false => format!("{name}.service"),
    };
    ensure!(
        whole.ends_with(".service"),
        "{:?} is no service: only those of an image are run",
        name
    );
    UnitName::parse(&whole)?;
    Ok(whole)
}

/// Finds the unit `name`.
///
/// # Errors
/// Where the image has none such, it is masked, or its text is none of a unit file.
pub fn find(tree: &Tree, name: &str) -> Result<ImageUnit> {
    let Some(unit) = find_any(tree, name)? else {
        bail!(
            "the image has no unit {name}: it is in none of {} of the image{}",
            DIRECTORIES.join(", "),
            others(tree)?
        );
    };
    Ok(unit)
}

/// Finds the unit `name`; `None` where the image has none such.
///
/// # Errors
/// Where it is masked, or its text is none of a unit file.
pub fn find_any(tree: &Tree, name: &str) -> Result<Option<ImageUnit>> {
    let asked = UnitName::parse(name)?;
    let Some(found) = look_up(tree, &asked)? else {
        return Ok(None);
    };
    let name = found.name;
    let mut lines = lex(&found.file, &found.text)?;
    for (file, text) in drop_ins(tree, [&name, &asked])? {
        lines.extend(lex(&file, &text)?);
    }
    let mut names = BTreeSet::from([name.full.clone(), asked.full]);
    let aliases = lines
        .iter()
        .filter(|line| line.section == "Install" && line.key == "Alias");
    for alias in aliases {
        names.extend(alias.value.split_whitespace().map(str::to_string));
    }
    Ok(Some(ImageUnit { name, names, lines }))
}

/// A unit's own file.
struct Fragment {
    name: UnitName,
    file: String,
    text: String,
}

fn look_up(tree: &Tree, asked: &UnitName) -> Result<Option<Fragment>> {
    let template = asked.template();
    for name in [Some(&asked.full), template.as_ref()].into_iter().flatten() {
        for directory in DIRECTORIES {
            let path = Path::new(directory).join(name);
            let resolved = tree.resolve_links(&path, &[])?;
            let is_masked = resolved == Path::new("/dev/null");
            if !is_masked && tree.stat(&path)?.is_none() {
                continue;
            }
            let text = read(tree, &resolved)?.filter(|text| !text.is_empty());
            let (Some(text), false) = (text, is_masked) else {
                bail!("the unit {} is masked in the image ({path:?})", asked.full);
            };
            return Ok(Some(Fragment {
                name: real_name(asked, &resolved)?,
                file: path.display().to_string(),
                text,
            }));
        }
    }
    Ok(None)
}

/// The unit's name, where a link leads to the file of another: an instance keeps its own.
fn real_name(asked: &UnitName, resolved: &Path) -> Result<UnitName> {
    let file = resolved.file_name().and_then(|name| name.to_str());
    let file = file.context("its name is not UTF-8")?;
    let real = UnitName::parse(file)?;
    ensure!(
        real.suffix() == asked.suffix(),
        "{} leads to {resolved:?}, a unit of another kind",
        asked.full
    );
    Ok(match (&real.instance, &asked.instance) {
        (Some(of_file), Some(instance)) if of_file.is_empty() => real.of_instance(instance)?,
        _ => real,
    })
}

fn read(tree: &Tree, path: &Path) -> Result<Option<String>> {
    let Some(stat) = tree.stat(path)? else {
        return Ok(None);
    };
    ensure!(
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        "{path:?} in the image is no regular file"
    );
    tree.read(path.to_str().context("its path is not UTF-8")?)
}

/// The texts of a unit's drop-ins, in the order in which they are read: by file name, of those of
/// one name the first in [`DIRECTORIES`], and a directory of the unit's own name before those for
/// many units.
fn drop_ins(tree: &Tree, names: [&UnitName; 2]) -> Result<Vec<(String, String)>> {
    let mut directories: Vec<String> = Vec::new();
    for name in names.iter().flat_map(|name| name.drop_in_names()) {
        if !directories.contains(&name) {
            directories.push(name);
        }
    }
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for name in directories {
        for directory in DIRECTORIES {
            let directory = Path::new(directory).join(format!("{name}.d"));
            for file in tree.list(&directory, DROPINS_MAX)? {
                let Some(file) = file.to_str().filter(|name| name.ends_with(".conf")) else {
                    continue;
                };
                let path = directory.join(file);
                files.entry(file.to_string()).or_insert(path);
            }
        }
    }
    ensure!(
        files.len() <= DROPINS_MAX,
        "the unit has over {DROPINS_MAX} drop-ins in the image"
    );
    let mut texts = Vec::new();
    for path in files.into_values() {
        let resolved = tree.resolve_links(&path, &[])?;
        if let Some(text) = read(tree, &resolved)? {
            texts.push((path.display().to_string(), text));
        }
    }
    Ok(texts)
}

fn lex(file: &str, text: &str) -> Result<Vec<UnitLine>> {
    let lines = unit_file::lex(text);
    let lines = lines.with_context(|| format!("{} of the image", file.escape_debug()))?;
    let lines = lines.into_iter().map(|line| UnitLine {
        file: file.to_string(),
        number: line.number,
        section: line.section,
        key: line.key,
        value: line.value,
    });
    Ok(lines.collect())
}

/// Which services the image has, for the message that it has not this one.
fn others(tree: &Tree) -> Result<String> {
    /// More would not help.
    const SHOWN: usize = 8;
    let mut names = BTreeSet::new();
    for directory in DIRECTORIES {
        for name in tree.list(Path::new(directory), 4096)? {
            let name = name.to_str().unwrap_or_default();
            if name.len() <= UNIT_NAME_MAX && service_name(name).is_ok() && name.contains('.') {
                names.insert(name.to_string());
            }
        }
    }
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<_> = names.into_iter().take(SHOWN).collect();
    Ok(match shown.is_empty() {
        true => "; it has none at all".to_string(),
        false => format!("; it has {}{more}", shown.join(", ")),
    })
}
