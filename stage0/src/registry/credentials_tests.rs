//! Tests of the lookup of credentials.

use super::*;

/// Base64 of `user:` and the password.
const A: &str = "dXNlcjph";
const B: &str = "dXNlcjpi";

fn basic(password: &str) -> RegistryAuth {
    RegistryAuth::Basic("user".to_owned(), password.to_owned())
}

fn files(paths: &[&Path]) -> CredentialFiles {
    CredentialFiles {
        files: paths.iter().map(PathBuf::from).collect(),
        named: false,
    }
}

#[test]
fn the_files_are_those_of_podman_and_docker() {
    let mut environment = CredentialEnvironment {
        home: Some("/root".into()),
        ..CredentialEnvironment::default()
    };
    let paths = |environment: &CredentialEnvironment| {
        let files = CredentialFiles::new(environment).files;
        files
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        paths(&environment),
        [
            "/run/containers/0/auth.json",
            "/root/.config/containers/auth.json",
            "/root/.docker/config.json"
        ]
    );
    environment.xdg_runtime_dir = Some("/run/user/0".into());
    environment.xdg_config_home = Some("/c".into());
    environment.docker_config = Some("/d".into());
    assert_eq!(
        paths(&environment),
        [
            "/run/user/0/containers/auth.json",
            "/c/containers/auth.json",
            "/d/config.json"
        ]
    );
    environment.registry_auth_file = Some("/a.json".into());
    assert_eq!(paths(&environment), ["/a.json"]);
}

#[test]
fn the_most_specific_key_wins() {
    let content = format!(
        r#"{{"auths": {{"example.com": {{"auth": "{A}"}}, "example.com/team": {{"auth": "{B}"}},
            "https://index.docker.io/v1/": {{"auth": "{A}"}}, "https://old.example/v1/": {{"auth": "{B}"}},
            "host:5000": {{"auth": "{B}"}}, "nothing.example": {{}}}}}}"#
    );
    let found = |registry, repository| lookup_in(content.as_bytes(), registry, repository).unwrap();
    assert_eq!(found("example.com", "team/app"), Some(basic("b")));
    assert_eq!(found("example.com", "team"), Some(basic("b")));
    assert_eq!(found("example.com", "teams/app"), Some(basic("a")));
    assert_eq!(found("docker.io", "library/busybox"), Some(basic("a")));
    assert_eq!(found("old.example", "app"), Some(basic("b")));
    assert_eq!(found("host:5000", "app"), Some(basic("b")));
    for registry in ["host", "host:5001", "sub.example.com", "nothing.example"] {
        assert_eq!(found(registry, "app"), None, "{registry}");
    }
}

#[test]
fn the_first_file_that_knows_wins_and_missing_ones_do_not_matter() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str, content: String| {
        let path = root.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let missing = root.path().join("missing");
    let other = path(
        "other",
        format!(r#"{{"auths": {{"other": {{"auth": "{A}"}}}}}}"#),
    );
    let b = path(
        "b",
        format!(r#"{{"auths": {{"host": {{"auth": "{B}"}}}}}}"#),
    );
    let a = path(
        "a",
        format!(r#"{{"auths": {{"host": {{"auth": "{A}"}}}}}}"#),
    );
    let found = files(&[&missing, &other, &b, &a])
        .lookup("host", "app")
        .unwrap();
    assert_eq!(found, basic("b"));
    let found = files(&[&missing, &other]).lookup("host", "app").unwrap();
    assert_eq!(found, RegistryAuth::Anonymous);
    let named = CredentialFiles {
        named: true,
        ..files(&[&missing])
    };
    assert!(named.lookup("host", "app").is_err());
}

#[test]
fn broken_files_are_named_and_secrets_are_not() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("auth.json");
    for content in [
        "",
        "{",
        r#""hunter2""#,
        r#"{"auths": "hunter2"}"#,
        r#"{"auths": {"host": "hunter2"}}"#,
        r#"{"auths": {"host": {"auth": "hunter2"}}}"#,
        r#"{"auths": {"host": {"identitytoken": "hunter2"}}}"#,
        r#"{"credHelpers": {"host": "skim-test-hunter-missing"}}"#,
        r#"{"auths": {"host": {"auth": "dXNlcjph", "username": "user", "password": "hunter2"}}}"#,
    ] {
        std::fs::write(&path, content).unwrap();
        let error = files(&[&path]).lookup("host", "app").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("auth.json"), "{content}: {text}");
        assert!(
            !text.contains("hunter2") && !text.contains('\n'),
            "{content}: {text}"
        );
    }
    assert!(!format!("{:?}", basic("hunter2")).contains("hunter2"));
}

#[test]
fn a_helper_that_knows_nothing_is_no_error() {
    let failure = |stdout: &str| CredentialRetrievalError::HelperFailure {
        helper: "docker-credential-pass".to_owned(),
        stdout: stdout.to_owned(),
        stderr: "hunter2".to_owned(),
    };
    let none = explain(
        failure("credentials not found in native keychain\n"),
        "host",
    );
    assert_eq!(none.unwrap(), None);
    let text = explain(failure("hunter2\n"), "host")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("docker-credential-pass") && !text.contains("hunter2"),
        "{text}"
    );
}
