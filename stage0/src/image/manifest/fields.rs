//! Access to a JSON object in the way of Go's `encoding/json`, which images are written for:
//! keys match without regard to case, unknown keys are ignored, `null` is as good as absent.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// A JSON object and where it stands in the document.
pub struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// `value`, which stands at `path`, as an object.
    pub fn new(path: &str, value: &'a Value) -> Result<Self> {
        let map = value
            .as_object()
            .with_context(|| format!("{path}: not an object"))?;
        Ok(Self {
            path: path.to_owned(),
            map,
        })
    }

    /// Where the field `key` stands.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The field's value, where it is there and not `null`.
    pub fn value(&self, key: &str) -> Result<Option<&'a Value>> {
        let mut found = self
            .map
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(key));
        let first = found.next().map(|(_, value)| value);
        // Go would take whichever comes last in the text; another reader might not.
        ensure!(
            found.next().is_none(),
            "{}: given more than once, in different spellings",
            self.path_of(key)
        );
        Ok(first.filter(|value| !value.is_null()))
    }

    /// A nested object.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>> {
        self.value(key)?
            .map(|value| Fields::new(&self.path_of(key), value))
            .transpose()
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<Option<String>> {
        self.value(key)?
            .map(|value| text(value, &self.path_of(key)))
            .transpose()
    }

    /// A string that must be there and not be empty.
    pub fn required(&self, key: &str) -> Result<String> {
        match self.string(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => bail!("{}: missing or empty", self.path_of(key)),
        }
    }

    /// An integer.
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        self.value(key)?
            .map(|value| integer(value, &self.path_of(key), range))
            .transpose()
    }

    /// A truth value, false where absent.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.value(key)? {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .with_context(|| format!("{}: neither true nor false", self.path_of(key))),
        }
    }

    /// The elements of an array with their places, none where it is absent.
    pub fn elements(&self, key: &str) -> Result<Vec<(String, &'a Value)>> {
        let Some(value) = self.value(key)? else {
            return Ok(Vec::new());
        };
        let path = self.path_of(key);
        let array = value
            .as_array()
            .with_context(|| format!("{path}: not an array"))?;
        Ok(array
            .iter()
            .enumerate()
            .map(|(index, value)| (format!("{path}[{index}]"), value))
            .collect())
    }

    /// An array of objects.
    pub fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>> {
        self.elements(key)?
            .into_iter()
            .map(|(path, value)| Fields::new(&path, value))
            .collect()
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Vec<String>> {
        self.elements(key)?
            .into_iter()
            .map(|(path, value)| text(value, &path))
            .collect()
    }

    /// The keys of an object in alphabetical order, none where it is absent.
    pub fn keys(&self, key: &str) -> Result<Vec<String>> {
        let Some(object) = self.object(key)? else {
            return Ok(Vec::new());
        };
        let name = |key: &String| text(&Value::String(key.clone()), &object.path);
        let mut keys: Vec<_> = object.map.keys().map(name).collect::<Result<_>>()?;
        keys.sort();
        Ok(keys)
    }

    /// An object whose values are strings, keys as they are spelt.
    pub fn map_of_strings(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let Some(object) = self.object(key)? else {
            return Ok(BTreeMap::new());
        };
        let pairs = object.map.iter().map(|(key, value)| {
            let path = format!("{}[{key:?}]", object.path);
            ensure!(!key.contains('\0'), "{path}: holds a zero byte");
            Ok((key.clone(), text(value, &path)?))
        });
        pairs.collect()
    }
}

/// `value` as a string without zero bytes, which neither arguments nor environment can hold.
fn text(value: &Value, path: &str) -> Result<String> {
    let text = value
        .as_str()
        .with_context(|| format!("{path}: not a string"))?;
    ensure!(!text.contains('\0'), "{path}: holds a zero byte");
    Ok(text.to_owned())
}

/// `value` as an integer in `range`.
pub fn integer(value: &Value, path: &str, range: RangeInclusive<u64>) -> Result<u64> {
    value
        .as_u64()
        .filter(|number| range.contains(number))
        .with_context(|| {
            let (low, high) = (range.start(), range.end());
            format!("{path}: not an integer from {low} to {high}")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_match_in_any_case_and_null_is_absent() {
        let value = json!({"SupplementaryGids": [1], "user": null});
        let fields = Fields::new("app", &value).unwrap();
        assert_eq!(fields.elements("supplementaryGIDs").unwrap().len(), 1);
        assert_eq!(fields.string("user").unwrap(), None);
        assert!(fields.required("user").is_err());
    }

    #[test]
    fn two_spellings_are_refused() {
        let value = json!({"name": "a", "Name": "b"});
        let error = Fields::new("", &value).unwrap().string("name").unwrap_err();
        assert!(error.to_string().starts_with("name: given more than once"));
    }

    #[test]
    fn wrong_types_are_refused_with_their_place() {
        let value = json!({"a": 1, "b": "x", "c": [1, 2], "d": "a\u{0}b", "e": -1});
        let fields = Fields::new("top", &value).unwrap();
        let errors = [
            fields.string("a").unwrap_err(),
            fields.flag("b").unwrap_err(),
            fields.object("c").err().unwrap(),
            fields.strings("c").unwrap_err(),
            fields.string("d").unwrap_err(),
            fields.integer("e", 0..=9).unwrap_err(),
            fields.elements("b").unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().starts_with("top."), "{error}");
        }
    }
}
