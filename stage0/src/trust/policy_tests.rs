use std::fs;

use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A file with these rules.
fn file(rules: &str) -> String {
    format!("{{\"skimKind\": \"policy\", \"skimVersion\": \"v1\",\n \"rules\": [{rules}]}}")
}

fn parse(rules: &str) -> Result<Policy> {
    Policy::parse(file(rules).as_bytes(), Path::new("/p.json"))
}

#[test]
fn the_longest_prefix_decides() {
    let policy = parse(&format!(
        r#"{{"prefix": "example.com", "accept": ["signature", "pinned"]}},
           {{"prefix": "*", "accept": []}},
           {{"prefix": "example.com/etc", "accept": ["any"]}},
           {{"prefix": "example.com/etc-x", "digests": ["{DIGEST}"]}}"#
    ))
    .unwrap();
    for (name, demand) in [
        ("other.com", "nothing"),
        (
            "example.com",
            "a good signature or to be named by its digest",
        ),
        (
            "example.com/etcd",
            "a good signature or to be named by its digest",
        ),
        ("example.com/etc/x", "anything"),
        ("example.com/etc-x", "to be in its list of digests"),
        ("example.community", "nothing"),
    ] {
        assert_eq!(policy.demands(name).to_string(), demand, "{name}");
    }
    assert_eq!(Policy::default().demands("x"), Demand::default());
}

#[test]
fn the_example_is_one() {
    let example = include_str!("../../../packaging/policy.json");
    let policy = Policy::parse(example.as_bytes(), Path::new("/p.json")).unwrap();
    assert!(policy.demands("docker.io/x").pinned);
    // The one in the head of the module, but for the end of its digest.
    let head = include_str!("policy.rs").split("```").nth(1).unwrap();
    let lines = head
        .lines()
        .skip(1)
        .map(|line| line.trim_start_matches("//!"));
    let blanks = |text: &str| text.split_whitespace().collect::<String>();
    let head = blanks(&lines.collect::<String>());
    let (before, after) = head.split_once('…').unwrap();
    let example = blanks(example);
    assert!(example.starts_with(before) && example.ends_with(after));
}

#[test]
fn faulty_files() {
    let good = r#""prefix": "a", "accept": []"#;
    let long = format!(r#"{{"prefix": "{}", "accept": []}}"#, "a".repeat(600));
    for (rules, part) in [
        (r#"{"prefix": "a"}"#, "neither \"accept\" nor"),
        (
            &format!("{{{good}}}, {{{good}}}"),
            "two rules for the prefix a",
        ),
        (&format!("{{{good}, \"x\": 1}}"), "line 2"),
        (&format!("{{{good}, {good}}}"), "duplicate field"),
        (r#"{"accept": []}"#, "missing field `prefix`"),
        (r#"{"prefix": "a", "accept": ["signed"]}"#, "line 2"),
        (
            r#"{"prefix": "", "accept": []}"#,
            "no prefix of image names",
        ),
        (
            r#"{"prefix": "A", "accept": []}"#,
            "no prefix of image names",
        ),
        (
            r#"{"prefix": "a/*", "accept": []}"#,
            "no prefix of image names",
        ),
        (&long, "no prefix of image names"),
        (r#"{"prefix": "a", "digests": ["sha256:12"]}"#, "line 2"),
        (
            r#"{"prefix": "a", "digests": ["sha512-1234"]}"#,
            "not whole",
        ),
        ("\"\n\"", "line 3"),
    ] {
        let error = format!("{:#}", parse(rules).unwrap_err());
        assert!(error.contains(part), "{rules}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for (content, part) in [
        ("", "line 1"),
        ("{}", "missing field"),
        (
            r#"{"skimKind": "auth", "skimVersion": "v1", "rules": []}"#,
            "auth",
        ),
        (
            r#"{"skimKind": "policy", "skimVersion": "v2", "rules": []}"#,
            "v2",
        ),
        (
            r#"{"skimKind": "policy", "skimVersion": "v1", "rules": []} x"#,
            "line 1",
        ),
        ("\u{feff}{}", "line 1"),
    ] {
        let error = Policy::parse(content.as_bytes(), Path::new("/p.json")).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(part), "{content}: {error}");
    }
    let deep = [vec![b'['; 1 << 20]].concat();
    assert!(Policy::parse(&deep, Path::new("/p.json")).is_err());
    assert!(Policy::parse(b"\xff{}", Path::new("/p.json")).is_err());
}

#[test]
fn files_of_both_directories() {
    let root = tempfile::tempdir().unwrap();
    let directories = Directories {
        administrator: None,
        system: root.path().join("system"),
        local: root.path().join("local"),
    };
    let put = |which: &str, name: &str, rules: Option<&str>| {
        let dir = root.path().join(which).join(DIRECTORY);
        let content = rules.map(file).unwrap_or_default();
        config::write(&dir, name, content.as_bytes()).unwrap()
    };
    let demand = |name: &str| {
        let demand = Policy::load(&directories).unwrap().demands(name);
        demand.to_string()
    };
    assert_eq!(demand("a"), "anything");
    put(
        "system",
        "20-a.json",
        Some(r#"{"prefix": "a", "accept": []}"#),
    );
    put(
        "system",
        "50-b.json",
        Some(r#"{"prefix": "b", "accept": []}"#),
    );
    put("local", "notes.txt", Some("x"));
    assert_eq!(
        (demand("a"), demand("b")),
        ("nothing".into(), "nothing".into())
    );
    // Of the same name: instead of it.
    put(
        "local",
        "20-a.json",
        Some(r#"{"prefix": "c", "accept": []}"#),
    );
    assert_eq!(
        (demand("a"), demand("c")),
        ("anything".into(), "nothing".into())
    );
    // Empty: away with it.
    put("local", "50-b.json", None);
    assert_eq!(demand("b"), "anything");
    // A later name wins, wherever it stands.
    put(
        "system",
        "90-c.json",
        Some(r#"{"prefix": "c", "accept": ["pinned"]}"#),
    );
    assert_eq!(demand("c"), "to be named by its digest");

    let faulty = put("local", "99-x.json", Some("{"));
    let error = format!("{:#}", Policy::load(&directories).unwrap_err());
    assert!(
        error.contains("99-x.json") && error.contains("line 2"),
        "{error}"
    );
    fs::remove_file(&faulty).unwrap();
    std::os::unix::fs::symlink("missing", &faulty).unwrap();
    assert!(Policy::load(&directories).is_err());
    fs::remove_file(&faulty).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&directories.local, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Policy::load(&directories).is_err());
}

proptest! {
    #[test]
    fn no_content_panics(content in "\\PC{0,60}") {
        let _ = Policy::parse(content.as_bytes(), Path::new("/p.json"));
    }

    #[test]
    fn the_rule_is_the_longest_that_covers(
        prefixes in prop::collection::btree_set("[ab][-.]?(/[ab][-.]?){0,2}", 0..6),
        name in "[ab][-.]?(/[ab][-.]?){0,3}"
    ) {
        let rules: Vec<_> = prefixes
            .iter()
            .map(|prefix| format!(r#"{{"prefix": "{prefix}", "accept": []}}"#))
            .collect();
        let demand = parse(&rules.join(",")).unwrap().demands(&name);
        let found = demand.rule.map(|rule| rule.pattern.to_string());
        let covering = prefixes.iter().filter(|p| Prefix::parse(p).unwrap().covers(&name));
        prop_assert_eq!(found.as_ref(), covering.max_by_key(|p| p.len()));
    }
}
