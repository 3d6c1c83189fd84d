use proptest::prelude::*;

use super::*;
use crate::image::blob::Sha256;

fn name(name: &str, version: Option<&str>) -> Reference {
    Reference::Name(NameReference {
        name: name.to_owned(),
        version: version.map(str::to_owned),
    })
}

#[test]
fn files() {
    for text in [
        "docker.aci",
        "/a",
        "./a",
        "../a",
        "example.com/a.aci",
        "Build/app",
        "a b/c",
        "./sha512-ab",
        "dir/ä:ö",
    ] {
        assert_eq!(
            Reference::parse(text).unwrap(),
            Reference::File(text.into())
        );
    }
}

#[test]
fn ids() {
    let id = Reference::Id(IdPrefix::parse("sha512-abcd").unwrap());
    assert_eq!(Reference::parse("sha512-abcd").unwrap(), id);
    for bad in ["sha512-", "sha512-a", "sha512-ABCD"] {
        assert!(Reference::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn names() {
    assert_eq!(Reference::parse("docker").unwrap(), name("docker", None));
    assert_eq!(
        Reference::parse("example.com/app:1.0-2").unwrap(),
        name("example.com/app", Some("1.0-2"))
    );
}

#[test]
fn nothing_else() {
    for bad in [
        "",
        "Docker",
        "a:",
        "a\0b",
        "--exec",
        "ftp://e.com/a.aci",
        "docker-daemon:busybox",
        "containers-storage:busybox",
        "docker://",
        "docker://Busybox",
        "docker://a:b:c",
        "docker://a/b@sha256:1234",
        "docker://a:tag\n",
        "docker://a:ä",
        "docker://e.com:0/a",
        "docker://e.com:65536/a",
        "docker://user@e.com/a",
        "docker://e.com/a/../b",
        "docker://e.com/a..b",
        "docker://e.com/a.-b",
        "docker://e.com/a___b",
        "docker://e.com/-a",
        "docker://e.com/a-",
        "docker://e.com//a",
        "docker://e.com/",
        "docker:///a",
        "docker://e.com:+80/a",
        "docker://e..com/a",
        "docker://-e.com/a",
        "docker://e_.com/a",
        "docker://ä.com/a",
        "docker://a@b@c",
        "docker://a@",
        "docker://a:@sha256:00",
        "docker://[::1]:5000/a",
        "oci:",
        "oci::latest",
        "oci-archive:",
        "docker-archive:",
        "docker-archive::busybox",
        "docker-archive:a.tar:Busybox",
        "https://",
        "https://e.com",
        "https://e.com/",
        "http:///a.aci",
        "https://e.com/a b.aci",
        "https://e.com/ä.aci",
    ] {
        let error = Reference::parse(bad).unwrap_err();
        assert!(!format!("{error:#}").contains('\n'), "{bad}");
    }
}

/// Whether a registry's port is one, and its host has no underscore.
fn is_host(registry: &str) -> bool {
    let port = registry.split(':').nth(1);
    !registry.contains('_')
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

proptest! {
    /// What another implementation of the same grammar takes, means the same here.
    #[test]
    fn registries_agree_with_oci_client(text in "([a-z]{1,3}[.:/_-]{1,2}){0,3}[a-z0-9]{1,4}(:[A-Za-z0-9._-]{1,4})?") {
        let ours = RegistryReference::parse(&text);
        match text.parse::<oci_client::Reference>() {
            // It takes any port, and a host that no name of a host may be.
            Ok(theirs) if is_host(theirs.registry()) => {
                let ours = ours.unwrap();
                prop_assert_eq!(ours.registry.as_str(), theirs.registry());
                prop_assert_eq!(ours.repository.as_str(), theirs.repository());
                prop_assert_eq!(ours.tag.as_deref(), theirs.tag());
            }
            _ => prop_assert!(ours.is_err(), "{:?}", ours),
        }
    }

    #[test]
    fn names_come_back_as_written(text in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}(:[a-z0-9.]{1,8})?") {
        prop_assume!(!text.ends_with(".aci"));
        match Reference::parse(&text).unwrap() {
            Reference::Name(name) => prop_assert_eq!(name.to_string(), text),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_input_panics(text in "\\PC{0,40}") {
        let _ = Reference::parse(&text);
    }
}

/// Of the form `registry repository tag digest`, `-` for none.
fn registry(words: &str) -> RegistryReference {
    let words: Vec<_> = words.split(' ').collect();
    let given = |word: &str| (word != "-").then(|| word.to_owned());
    RegistryReference {
        registry: words[0].to_owned(),
        repository: words[1].to_owned(),
        tag: given(words[2]),
        digest: given(words[3]).map(|digest| Sha256::parse(&digest).unwrap()),
    }
}

#[test]
fn registries() {
    let digest = Sha256::of(b"").to_string();
    for (text, expected) in [
        ("busybox", "docker.io library/busybox latest -"),
        ("busybox:1.36", "docker.io library/busybox 1.36 -"),
        ("user/app", "docker.io user/app latest -"),
        ("docker.io/busybox", "docker.io library/busybox latest -"),
        (
            "index.docker.io/busybox",
            "docker.io library/busybox latest -",
        ),
        ("localhost/app", "localhost app latest -"),
        ("localhost:5000/a/b_c:V.1", "localhost:5000 a/b_c V.1 -"),
        ("Quay.io/a/b--c", "quay.io a/b--c latest -"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000 app latest -"),
        ("app@DIGEST", "docker.io library/app - DIGEST"),
        ("e.com/app:1@DIGEST", "e.com app 1 DIGEST"),
    ] {
        let text = format!("docker://{}", text.replace("DIGEST", &digest));
        let expected = registry(&expected.replace("DIGEST", &digest));
        assert_eq!(
            Reference::parse(&text).unwrap(),
            Reference::Registry(expected)
        );
    }
    let sha512 = format!("docker://app@sha512:{}", "a".repeat(128));
    let error = format!("{:#}", Reference::parse(&sha512).unwrap_err());
    assert!(error.contains("\"sha512\" are not supported"), "{error}");
    assert!(Reference::parse(&format!("docker://{}", "a".repeat(2000))).is_err());
}

#[test]
fn parts_of_a_registry_s_reference() {
    let digest = Sha256::of(b"");
    let reference = RegistryReference::parse("localhost:5000/a/b:1").unwrap();
    assert_eq!(reference.server(), "localhost:5000");
    let docker = RegistryReference::parse("busybox").unwrap();
    assert_eq!(docker.server(), "index.docker.io");
    assert_eq!(reference.reference(), "1");
    assert_eq!(reference.to_string(), "localhost:5000/a/b:1");
    assert_eq!(reference.to_name().name, "localhost:5000/a/b");
    let reference = RegistryReference::parse(&format!("e.com/b:1@{digest}")).unwrap();
    assert_eq!(reference.server(), "e.com");
    assert_eq!(reference.reference(), digest.to_string());
    assert_eq!(reference.to_string(), format!("e.com/b:1@{digest}"));
}

#[test]
fn layouts_and_archives() {
    let tag = |tag: &str| (!tag.is_empty()).then(|| tag.to_owned());
    for (text, path, expected) in [
        ("dir", "dir", ""),
        ("dir:1.0", "dir", "1.0"),
        ("/a:b/dir", "/a:b/dir", ""),
        ("/a:b/dir:1", "/a:b/dir", "1"),
        ("a:b:c", "a:b", "c"),
        ("dir:", "dir:", ""),
        ("dir:a b", "dir:a b", ""),
        ("dir/:x", "dir/", "x"),
        ("ä", "ä", ""),
    ] {
        let (path, tag) = (PathBuf::from(path), tag(expected));
        assert_eq!(
            Reference::parse(&format!("oci:{text}")).unwrap(),
            Reference::OciDirectory {
                path: path.clone(),
                tag: tag.clone()
            }
        );
        assert_eq!(
            Reference::parse(&format!("oci-archive:{text}")).unwrap(),
            Reference::OciArchive { path, tag }
        );
    }
    for (text, path, name) in [
        ("a.tar", "a.tar", ""),
        (
            "a.tar:busybox",
            "a.tar",
            "docker.io library/busybox latest -",
        ),
        (
            "/d/a.tar:localhost:5000/b:1",
            "/d/a.tar",
            "localhost:5000 b 1 -",
        ),
    ] {
        assert_eq!(
            Reference::parse(&format!("docker-archive:{text}")).unwrap(),
            Reference::DockerArchive {
                path: path.into(),
                name: (!name.is_empty()).then(|| registry(name)),
            }
        );
    }
    let digest = format!("docker-archive:a.tar:app@{}", Sha256::of(b""));
    assert!(Reference::parse(&digest).is_err());
}

#[test]
fn addresses() {
    for text in [
        "https://e.com/a.aci",
        "http://[::1]:80/x?y=%20",
        "https://e.com/any",
    ] {
        assert_eq!(
            Reference::parse(text).unwrap(),
            Reference::Url(text.to_owned())
        );
    }
}

#[test]
fn names_of_oci_images() {
    for (text, expected, version) in [
        (
            "docker.io/library/busybox:1.36",
            "docker.io/library/busybox",
            Some("1.36"),
        ),
        ("localhost:5000/foo:tag", "localhost:5000/foo", Some("tag")),
        ("localhost:5000/foo", "localhost:5000/foo", None),
        ("localhost:5000", "localhost", Some("5000")),
    ] {
        assert_eq!(
            Reference::parse(text).unwrap(),
            name(expected, version),
            "{text}"
        );
    }
    for bad in ["localhost:5000/", "localhost:x/foo", "a:b/c:d/e"] {
        assert_eq!(
            Reference::parse(bad).unwrap(),
            Reference::File(bad.into()),
            "{bad}"
        );
    }
}

#[test]
fn short_names_fit_docker_s() {
    let fits = |text: &str, name: &str, version: Option<&str>| {
        NameReference::parse(text).unwrap().fits(name, version)
    };
    assert!(fits("busybox", "docker.io/library/busybox", Some("1")));
    assert!(fits("busybox:1", "docker.io/library/busybox", Some("1")));
    assert!(fits("user/app", "docker.io/user/app", None));
    assert!(fits("busybox", "busybox", None));
    assert!(!fits("busybox:1", "docker.io/library/busybox", Some("2")));
    assert!(!fits("busybox:1", "busybox", None));
    assert!(!fits("app", "docker.io/user/app", None));
    assert!(!fits("busybox", "quay.io/library/busybox", None));
}

#[test]
fn paths_make_names() {
    for (path, expected) in [
        ("/d/My App.tar.gz", "my-app"),
        ("busybox.oci", "busybox"),
        ("/a/layout/", "layout"),
        ("/", "image"),
        (".tar", "image"),
        ("ä\n.tar", "image"),
        ("v1.2_x.tgz", "v1.2_x"),
    ] {
        assert_eq!(name_of_path(path.as_ref()), expected, "{path}");
        check_name(expected).unwrap();
    }
}

#[test]
fn tags() {
    for good in ["a", "_", "1.0-2_b", &"a".repeat(128)] {
        assert!(is_tag(good), "{good}");
    }
    for bad in [
        "",
        ".a",
        "-a",
        "a b",
        "a\n",
        "ä",
        "a/b",
        "a:b",
        &"a".repeat(129),
    ] {
        assert!(!is_tag(bad), "{bad}");
    }
}
