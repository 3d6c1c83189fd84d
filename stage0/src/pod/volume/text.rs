//! How an app is told where its volumes are. Pure.

use anyhow::{Context, Result};

/// What a reference to a volume begins with.
const REFERENCE: &str = "{volume:";

/// The variable that tells an app where a volume is: `SKIM_VOLUME_` and the name in upper case,
/// `_` for `-`.
pub fn variable(volume: &str) -> String {
    format!(
        "SKIM_VOLUME_{}",
        volume.to_ascii_uppercase().replace('-', "_")
    )
}

/// `text`, every `{volume:NAME}` in it replaced by the path that `volumes` gives. Other braces
/// mean nothing, and stay.
///
/// # Errors
/// Where it names a volume that the app has not.
pub fn fill_in(text: &str, volumes: &[(String, String)]) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(REFERENCE) {
        let (before, reference) = rest.split_at(start);
        filled.push_str(before);
        let inside = &reference[REFERENCE.len()..];
        match inside.find(['{', '}']) {
            Some(end) if inside[end..].starts_with('}') => {
                filled.push_str(path(&inside[..end], volumes)?);
                rest = &inside[end + 1..];
            }
            _ => {
                filled.push_str(REFERENCE);
                rest = inside;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn path<'a>(name: &str, volumes: &'a [(String, String)]) -> Result<&'a str> {
    let found = volumes.iter().find(|(known, _)| known == name);
    let (_, path) = found.with_context(|| {
        let known: Vec<_> = volumes.iter().map(|(name, _)| name.as_str()).collect();
        match known.is_empty() {
            true => format!("{{volume:{}}}: the app has no volumes", name.escape_debug()),
            false => format!(
                "{{volume:{}}}: the app has no such volume, only {}",
                name.escape_debug(),
                known.join(", ")
            ),
        }
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> Vec<(String, String)> {
        [("data", "/r/data"), ("a-1", "/r/{volume:data}")]
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .into()
    }

    #[test]
    fn variables() {
        assert_eq!(variable("data"), "SKIM_VOLUME_DATA");
        assert_eq!(variable("a-1--b"), "SKIM_VOLUME_A_1__B");
    }

    #[test]
    fn only_references_to_volumes_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("{volume:data}", "/r/data"),
            (
                "-d={volume:data}/x:{volume:data}ä{volume:data}",
                "-d=/r/data/x:/r/dataä/r/data",
            ),
            // What is filled in is not looked at again.
            ("{volume:a-1}", "/r/{volume:data}"),
            ("{{volume:data}}", "{/r/data}"),
            ("{volume:{volume:data}}", "{volume:/r/data}"),
            ("{volume:", "{volume:"),
            ("{volume:data", "{volume:data"),
            (
                "{volume}{Volume:x}${x}{}{ volume:x}",
                "{volume}{Volume:x}${x}{}{ volume:x}",
            ),
        ] {
            assert_eq!(fill_in(text, &volumes()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn unknown_volumes_are_told_with_those_that_there_are() {
        let error = fill_in("x{volume:no\n}", &volumes()).unwrap_err();
        let says = "{volume:no\\n}: the app has no such volume, only data, a-1";
        assert_eq!(error.to_string(), says);
        let error = fill_in("{volume:}", &[]).unwrap_err();
        assert_eq!(error.to_string(), "{volume:}: the app has no volumes");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[{}a-z:ä]{0,20}(\\{volume:[a-z{}]{0,6}\\}?){0,3}") {
            let _ = fill_in(&text, &volumes());
        }
    }
}
