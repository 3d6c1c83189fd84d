//! `os/linux/capabilities-retain-set` and `-remove-set` (capabilities(7)): pure.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stage1_skim::capabilities;

use crate::image::manifest::fields::Fields;

/// The names in the isolator's `set`, each once, spelt as systemd does.
///
/// # Errors
/// Where the set is empty, as appc forbids, or one is no capability.
pub fn names(value: &Value) -> Result<Vec<String>> {
    let set = Fields::new("value", value)?.strings("set")?;
    ensure!(!set.is_empty(), "value.set: missing or empty");
    let mut names = Vec::new();
    for name in &set {
        let name = canonical(name)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// `NET_ADMIN`, `cap_net_admin` and the like as `CAP_NET_ADMIN`.
fn canonical(name: &str) -> Result<String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let canonical = format!("CAP_{bare}");
    capabilities::set([canonical.as_str()])
        .ok()
        .with_context(|| {
            format!(
                "`{}` is no capability (see capabilities(7))",
                name.escape_debug()
            )
        })?;
    Ok(canonical)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_taken_in_every_usual_spelling() {
        let set = json!({"Set": ["CAP_NET_ADMIN", "sys_time", "cap_chown", "NET_ADMIN"]});
        assert_eq!(
            names(&set).unwrap(),
            ["CAP_NET_ADMIN", "CAP_SYS_TIME", "CAP_CHOWN"]
        );
    }

    #[test]
    fn what_is_no_capability_is_refused() {
        for (value, message) in [
            (json!({"set": []}), "missing or empty"),
            (json!({}), "missing or empty"),
            (json!(["CAP_CHOWN"]), "not an object"),
            (json!({"set": "CAP_CHOWN"}), "not an array"),
            (json!({"set": [1]}), "value.set[0]"),
            (json!({"set": ["all"]}), "`all` is no capability"),
            (json!({"set": [""]}), "`` is no capability"),
            (
                json!({"set": ["CAP_CAP_CHOWN"]}),
                "`CAP_CAP_CHOWN` is no capability",
            ),
            (json!({"set": ["CHOWN\nX"]}), "`CHOWN\\nX` is no capability"),
        ] {
            let error = format!("{:#}", names(&value).unwrap_err());
            assert!(error.contains(message), "{value}: {error}");
        }
    }
}
