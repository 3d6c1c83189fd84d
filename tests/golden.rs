//! Golden tests: each case in `tests/golden/` is a pod's plan and the unit files it must give, the
//! whole directory. `UPDATE=1` rewrites what is expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stage1_skim::pod::PodPlan;
use stage1_skim::unit;
use stage1_skim::units::{root_slice, units};

/// Where the units of the cases call stage1-skim.
const STAGE1: &str = "/usr/libexec/skim/stage1-skim";

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut cases: Vec<_> = fs::read_dir(directory)
        .expect("tests/golden is there")
        .map(|entry| entry.expect("tests/golden can be read").path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "tests/golden has no case");
    cases
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn generated(case: &Path) -> BTreeMap<String, String> {
    let plan: PodPlan = serde_json::from_str(&read(&case.join("pod.json")))
        .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    let files = units(&plan, Path::new(STAGE1)).expect("the plan can be expressed");
    let files = files.into_iter().chain([root_slice()]);
    files.map(|file| (file.name, file.text)).collect()
}

fn expected(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error} (UPDATE=1 makes it)", directory.display()));
    entries
        .map(|entry| {
            let path = entry.expect("the directory can be read").path();
            let name = path.file_name().expect("a file has a name");
            (name.to_string_lossy().into_owned(), read(&path))
        })
        .collect()
}

fn update(directory: &Path, files: &BTreeMap<String, String>) {
    if directory.exists() {
        fs::remove_dir_all(directory).expect("the old files can be removed");
    }
    fs::create_dir(directory).expect("the directory can be made");
    for (name, text) in files {
        fs::write(directory.join(name), text).expect("the file can be written");
    }
}

#[test]
fn plans_give_the_expected_unit_files() {
    for case in cases() {
        let directory = case.join("units");
        let generated = generated(&case);
        if std::env::var_os("UPDATE").is_some() {
            update(&directory, &generated);
        }
        let expected = expected(&directory);
        let names: Vec<_> = generated.keys().collect();
        assert_eq!(
            names,
            expected.keys().collect::<Vec<_>>(),
            "{}",
            case.display()
        );
        for (name, text) in &generated {
            assert_eq!(text, &expected[name], "{}/{name}", directory.display());
        }
    }
}

#[test]
fn the_settings_of_an_image_parse_back_from_its_unit_file() {
    for case in cases() {
        let plan: PodPlan = serde_json::from_str(&read(&case.join("pod.json"))).expect("a plan");
        for app in plan.apps {
            let text = unit::render(&[], &app.image_settings);
            assert_eq!(unit::parse(&text).expect("it parses"), app.image_settings);
        }
    }
}
