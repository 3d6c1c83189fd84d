use std::time::Duration;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: ListArguments,
}

fn arguments(words: &[&str]) -> ListArguments {
    let words = ["list"].iter().chain(words);
    Line::try_parse_from(words).unwrap().arguments
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn images() -> Vec<Image> {
    let mut images = vec![
        sample("example.com/b", 1, 3000),
        sample("example.com/a", 2, 5 << 20),
        sample("example.com/c", 3, 10),
    ];
    images[0].last_used = Some(at(50));
    images[1].digest = Some(crate::image::blob::Sha256::of(b"x"));
    images[1].origin = "docker://example.com/a\n\u{1b}".to_owned();
    images
}

fn lines(words: &[&str]) -> Vec<String> {
    let arguments = arguments(words);
    let mut images = images();
    sort(&mut images, &arguments);
    let text = text(&images, &arguments, at(121));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_columns_are_rkts() {
    assert_eq!(
        lines(&[]),
        [
            "ID                   NAME             SIZE    IMPORT TIME    LAST USED",
            "sha512-010101010101  example.com/b:1  2.9KiB  2 minutes ago  1 minute ago",
            "sha512-020202020202  example.com/a:1  5.0MiB  1 minute ago   never",
            "sha512-030303030303  example.com/c:1  10B     1 minute ago   never",
        ]
    );
}

#[test]
fn fields_are_chosen() {
    assert_eq!(
        lines(&["--fields=name,digest,tree", "--no-legend"])[0],
        format!("example.com/b:1  sha512:{}  /t/1", "01".repeat(64))
    );
    let full = lines(&["--full"]);
    assert!(full[0].ends_with("DIGEST"), "{full:?}");
    assert!(
        full[1].contains(&"01".repeat(64)) && full[1].contains(" 3000 "),
        "{full:?}"
    );
    assert!(
        full[1].contains("1970-01-01 00:00:01.000 +0000 UTC"),
        "{full:?}"
    );
    assert!(
        full[2].contains("docker://example.com/a\\n\\u{1b}  sha256:2d71"),
        "{full:?}"
    );
    assert_eq!(full.len(), 4);
}

#[test]
fn order() {
    let order = |words: &[&str]| -> String {
        let words: Vec<_> = words
            .iter()
            .copied()
            .chain(["--fields=name", "--no-legend"])
            .collect();
        lines(&words).iter().map(|line| &line[12..13]).collect()
    };
    assert_eq!(order(&[]), "bac");
    assert_eq!(order(&["--order=desc"]), "cab");
    assert_eq!(order(&["--sort=name"]), "abc");
    assert_eq!(order(&["--sort=size"]), "cba");
    assert_eq!(order(&["--sort=lastused"]), "acb");
    assert_eq!(order(&["--sort=size", "--order=desc"]), "abc");
}

#[test]
fn json_has_everything() {
    let images = images();
    let json = serde_json::to_value(images.iter().map(entry).collect::<Vec<_>>()).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({
            "id": images[0].id.as_str(), "name": "example.com/b", "version": "1",
            "names": ["example.com/b:1"], "origin": "/a.aci", "digest": format!("sha512:{}", "01".repeat(64)), "tree": "/t/1",
            "import_time": 1_000_000_000_u64, "last_used_time": 50_000_000_000_u64, "size": 3000,
        })
    );
    assert_eq!(json[1]["last_used_time"], serde_json::Value::Null);
    assert_eq!(
        serde_json::to_string(&Vec::<Entry<'_>>::new()).unwrap(),
        "[]"
    );
}
