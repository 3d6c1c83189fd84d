//! Hints: environment variables that tell an image's interpreters where their files are.
//!
//! Relocation gives programs their libraries. Where an interpreter looks for its modules is mostly
//! compiled into it, as absolute paths, and with no chroot those are the host's. What can be put
//! right by a variable is found here, by a look into the image's tree (`table` says which). The
//! variables rank above skim's own defaults and below the image's and the user's.
//!
//! A variable is passed on to whatever the app starts, programs of the host too. The table prefers
//! those that do no harm there, and says of the others what they do. Left out are:
//!
//! - `LOCPATH`: the host's programs would lose their locales; archives of locales it does not name
//! - `PYTHONHOME`: python finds out by itself, and the host's would not start
//! - `SSL_CERT_FILE`, `OPENSSL_CONF`: whom to trust is for the host to say
//! - `PHPRC`, `PHP_INI_SCAN_DIR`: no variable says where php's extensions are, and settings that
//!   name some would fail. The settings themselves can say it:
//!   `extension_dir = ${SKIM_ROOTFS}/usr/lib/php/20240924`.

mod table;

use std::path::Path;

use anyhow::Result;

use self::table::{RULES, Rule};
use crate::pod::tree::Tree;

/// No directory is looked through further than this, in entries.
const MAX_ENTRIES: usize = 4096;

/// How many paths one pattern may mean; what sorts before them is left out.
const MAX_MATCHES: usize = 16;

/// A variable that a program of the image needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The program or library that needs it, a path in the image.
    pub program: String,
    /// The variable's name.
    pub variable: String,
    /// What it names: paths in the image, in the order in which they are searched.
    pub paths: Vec<String>,
    form: Form,
}

/// How a variable names paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The first path alone.
    First,
    /// All of them, with this between them.
    List(&'static str),
    /// A list with an empty entry at its end, which means what is compiled in.
    ListAndDefault,
    /// Lua's: what each path is followed by, separated by semicolons; `;;` is what is compiled in.
    Templates(&'static [&'static str]),
}

impl Hint {
    /// The variable's value for an image whose rootfs is at `rootfs`.
    pub fn value(&self, rootfs: &Path) -> String {
        let mut paths = self
            .paths
            .iter()
            .map(|path| format!("{}{path}", rootfs.display()));
        match self.form {
            Form::First => paths.next().unwrap_or_default(),
            Form::List(separator) => paths.collect::<Vec<_>>().join(separator),
            Form::ListAndDefault => paths.map(|path| path + ":").collect(),
            Form::Templates(templates) => {
                let all = paths.flat_map(|path| {
                    let each = templates.iter();
                    each.map(move |template| format!("{path}/{template};"))
                });
                all.collect::<String>() + ";"
            }
        }
    }
}

/// What the programs in the tree need to be told; no variable stands twice.
///
/// # Errors
/// Where the tree cannot be read.
pub fn find(tree: &Tree) -> Result<Vec<Hint>> {
    let mut hints = Vec::new();
    for rule in RULES {
        hints.extend(rule.apply(tree)?);
    }
    Ok(hints)
}

impl Rule {
    fn apply(&self, tree: &Tree) -> Result<Option<Hint>> {
        let mut program = None;
        for pattern in self.programs {
            program = matches(tree, pattern)?.pop();
            if program.is_some() {
                break;
            }
        }
        let Some(program) = program else {
            return Ok(None);
        };
        let mut paths = found(tree, self.paths)?;
        if let Some((missing, substitute)) = self.substitute
            && matches(tree, missing)?.is_empty()
        {
            paths.extend(matches(tree, substitute)?);
        }
        if self.form == Form::First {
            paths.truncate(1);
        }
        Ok((!paths.is_empty()).then(|| Hint {
            program,
            variable: self.variable.to_owned(),
            paths,
            form: self.form,
        }))
    }
}

/// What the patterns mean in the tree, the same place under two names once.
fn found(tree: &Tree, patterns: &[&str]) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let mut paths = Vec::new();
    for pattern in patterns {
        for path in matches(tree, pattern)?.into_iter().rev() {
            let Some(stat) = tree.stat(Path::new(&path))? else {
                continue;
            };
            let id = (stat.st_dev, stat.st_ino);
            if !seen.contains(&id) {
                seen.push(id);
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The paths in the tree that a pattern means, sorted.
fn matches(tree: &Tree, pattern: &str) -> Result<Vec<String>> {
    let mut paths = vec![String::new()];
    for name in pattern.split('/').skip(1) {
        let condition = name
            .strip_prefix('(')
            .and_then(|name| name.strip_suffix(')'));
        let mut next = Vec::new();
        for path in paths {
            let names = children(tree, &path, condition.unwrap_or(name))?;
            if condition.is_none() {
                next.extend(names.iter().map(|name| format!("{path}/{name}")));
            } else if !names.is_empty() {
                next.push(path);
            }
        }
        next.sort();
        paths = next.split_off(next.len().saturating_sub(MAX_MATCHES));
    }
    Ok(paths)
}

/// The names in a directory of the tree that fit.
fn children(tree: &Tree, directory: &str, name: &str) -> Result<Vec<String>> {
    if !name.contains('*') {
        let there = tree.stat(Path::new(&format!("{directory}/{name}")))?;
        return Ok(there.map(|_| name.to_owned()).into_iter().collect());
    }
    let names = tree.list(Path::new(&format!("{directory}/")), MAX_ENTRIES)?;
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    Ok(names
        .filter(|found| is_plain(found) && fits(found, name))
        .collect())
}

/// Whether a name may stand in a list: neither a separator nor anything that a shell or a
/// terminal would act upon.
fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn fits(name: &str, pattern: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    let Some((middle, last)) = tail.rsplit_once('*') else {
        return rest.ends_with(tail);
    };
    // The first place that fits leaves the most for what follows.
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
