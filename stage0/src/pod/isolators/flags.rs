//! Isolators from flags: each function parses the value of one, in the form that clap takes for
//! a value parser. What they return has been checked.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{
    CAPS_REMOVE, CAPS_RETAIN, CPU, CPU_SHARES, MEMORY, NO_NEW_PRIVILEGES, OOM_SCORE_ADJ,
    SECCOMP_REMOVE, SECCOMP_RETAIN, effect,
};
use crate::image::manifest::Isolator;

/// `--memory=QUANTITY`: bytes.
///
/// # Errors
/// Where it is no quantity, or too little.
pub fn memory(text: &str) -> Result<Isolator> {
    checked(MEMORY, json!({ "limit": text }))
}

/// `--cpu=QUANTITY`: cores.
///
/// # Errors
/// Where it is no quantity, or too little.
pub fn cpu(text: &str) -> Result<Isolator> {
    checked(CPU, json!({ "limit": text }))
}

/// `--cpu-shares=NUMBER`.
///
/// # Errors
/// Where it is not from 2 to 262144.
pub fn cpu_shares(text: &str) -> Result<Isolator> {
    checked(CPU_SHARES, integer(text)?)
}

/// `--oom-score-adj=NUMBER`.
///
/// # Errors
/// Where it is not from -1000 to 1000.
pub fn oom_score_adj(text: &str) -> Result<Isolator> {
    checked(OOM_SCORE_ADJ, integer(text)?)
}

/// `--no-new-privileges`.
pub fn no_new_privileges(on: bool) -> Isolator {
    Isolator {
        name: NO_NEW_PRIVILEGES.to_string(),
        value: json!(on),
    }
}

/// `--caps-retain=NAME,NAME…`.
///
/// # Errors
/// Where one is no capability, or there is none.
pub fn caps_retain(text: &str) -> Result<Isolator> {
    checked(CAPS_RETAIN, json!({ "set": words(text) }))
}

/// `--caps-remove=NAME,NAME…`.
///
/// # Errors
/// As [`caps_retain`].
pub fn caps_remove(text: &str) -> Result<Isolator> {
    checked(CAPS_REMOVE, json!({ "set": words(text) }))
}

/// `--seccomp=mode=retain|remove[,errno=ERROR],NAME…`, as rkt has it.
///
/// # Errors
/// Where the mode is missing or another, a key is unknown or given twice, or a name is neither
/// a system call nor a group of them.
pub fn seccomp(text: &str) -> Result<Isolator> {
    let (mut mode, mut errno, mut set) = (None, None, Vec::new());
    for word in words(text) {
        let Some((key, value)) = word.split_once('=') else {
            set.push(word);
            continue;
        };
        let slot = match key {
            "mode" => &mut mode,
            "errno" => &mut errno,
            _ => bail!(
                "`{}` is neither mode=, errno= nor a name",
                word.escape_debug()
            ),
        };
        ensure!(slot.replace(value).is_none(), "{key}= is given twice");
    }
    let name = match mode {
        Some("retain") => SECCOMP_RETAIN,
        Some("remove") => SECCOMP_REMOVE,
        Some(other) => bail!(
            "mode={}: it is neither retain nor remove",
            other.escape_debug()
        ),
        None => bail!("neither mode=retain nor mode=remove is given"),
    };
    checked(name, json!({ "set": set, "errno": errno }))
}

fn checked(name: &str, value: Value) -> Result<Isolator> {
    let isolator = Isolator {
        name: name.to_string(),
        value,
    };
    effect(&isolator)?;
    Ok(isolator)
}

fn words(text: &str) -> Vec<&str> {
    text.split(',').filter(|word| !word.is_empty()).collect()
}

fn integer(text: &str) -> Result<Value> {
    let number: i64 = text
        .parse()
        .with_context(|| format!("`{}` is no integer", text.escape_debug()))?;
    Ok(json!(number))
}
