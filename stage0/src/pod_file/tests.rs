//! Tests of pod files as a whole.

use std::time::Duration;

use proptest::prelude::*;
use stage1_skim::unit::Setting;

use super::*;

fn parse(text: &str) -> Result<PodFile, Faults> {
    let text = Text {
        path: "/etc/skim/web.skim".into(),
        text: text.to_string(),
    };
    PodFile::parse("web", &[text])
}

/// What is wrong with `text`, one line each.
fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(file) => panic!("nothing is wrong: {file:?}"),
        Err(faults) => faults.list().iter().map(ToString::to_string).collect(),
    }
}

const FULL: &str = r#"
[Unit]
Description=Web and its database
After=network-online.target

[Service]
Restart=on-failure
ExecStartPre=/usr/bin/mkdir -p /srv/db

[Slice]
MemoryMax=2G

[Pod]
Volume=data,kind=host,source=/srv/db "odd,kind=host,source=/srv/a b%h"
Environment=TZ=UTC "GREETING=hello world"
Annotation=example.com/note="a b"
InsecureOptions=image tls
MaxImageSize=1G
KeepVersions=5
UpdateTimeoutSec=1min 30s
UpdateSettleSec="2 s"
AutoUpdate=yes

[App db]
Image=docker://registry.example.com/db:16
Exec=/bin/db --dir "{volume:data}" 100%
Arguments=--verbose
Arguments='with "quotes"'
Mount=volume=data,target=/var/lib/db
Memory=1G
Notify=yes
Restart=on-failure
User=db
LimitNOFILE=65536
ExecReload=/bin/kill -HUP $MAINPID
After=local-fs.target
SupplementaryGroups=10 20
WorkingDirectory="/a b"

[App web]
Image=/srv/images/web.aci
Requires=db
ReadonlyRootfs=on
Environment=PORT=80
Socket=80 /run/web.sock
SocketMode=0660

[Install]
WantedBy=multi-user.target graphical.target
Alias=www.service

[X-Other]
Anything=goes
"#;

#[test]
fn a_pod_file_is_what_the_command_line_would_be() {
    let file = parse(FULL).unwrap_or_else(|faults| panic!("{:?}", faults.list()));
    let pod = &file.pod;
    assert_eq!(pod.common.volume.len(), 2);
    assert_eq!(
        pod.common.volume[1].source.as_deref(),
        Some(std::path::Path::new("/srv/a b%h"))
    );
    assert_eq!(
        pod.common.set_env[1],
        ("GREETING".into(), "hello world".into())
    );
    assert_eq!(pod.annotations["example.com/note"], "a b");
    assert_eq!(pod.images.max_image_size, 1 << 30);
    assert_eq!(pod.images.insecure_options.len(), 2);
    assert!(pod.generate && pod.auto_update);
    assert_eq!(pod.keep_versions, 5);
    assert_eq!(pod.update_timeout, Some(Duration::from_secs(90)));
    assert_eq!(pod.update_settle, Duration::from_secs(2));

    let db = &file.apps[0].arguments;
    assert_eq!(db.image, "docker://registry.example.com/db:16");
    assert_eq!(db.flags.name.as_deref(), Some("db"));
    assert_eq!(db.flags.exec.as_deref(), Some("/bin/db"));
    let arguments = [
        "--dir",
        "{volume:data}",
        "100%",
        "--verbose",
        "with \"quotes\"",
    ];
    assert_eq!(db.arguments, arguments);
    assert_eq!(db.flags.notify, Some(true));
    assert_eq!(db.flags.supplementary_gids, Some(vec![10, 20]));
    assert_eq!(db.flags.working_dir.as_deref(), Some("/a b"));
    assert_eq!(
        db.flags.property,
        [
            Setting::service("LimitNOFILE", "65536"),
            Setting::service("ExecReload", "/bin/kill -HUP $MAINPID"),
            Setting::unit("After", "local-fs.target"),
        ]
    );
    let web = &file.apps[1].arguments;
    assert_eq!(web.flags.requires, Some(vec!["db".to_string()]));
    assert_eq!(web.flags.readonly_rootfs, Some(true));
    assert_eq!(
        web.flags.property,
        [Setting::service("Sockets", "web.socket")]
    );
    assert_eq!(
        file.sockets,
        [SocketUnit {
            name: "web.socket".into(),
            app: "web".into(),
            settings: vec![
                Setting::socket("ListenStream", "80"),
                Setting::socket("ListenStream", "/run/web.sock"),
                Setting::socket("SocketMode", "0660"),
            ]
        }]
    );
    assert_eq!(file.slice, [Setting::slice("MemoryMax", "2G")]);
    assert_eq!(file.unit.len(), 2);
    assert_eq!(file.service[0], Setting::service("Restart", "on-failure"));
    assert_eq!(
        file.install.wanted_by,
        ["multi-user.target", "graphical.target"]
    );
    assert_eq!(file.install.alias, ["www.service"]);
}

#[test]
fn what_is_not_said_is_the_default() {
    let file = parse("[App a]\nImage=a\n").unwrap();
    let flags = &file.apps[0].arguments.flags;
    assert_eq!(flags.requires, None);
    assert!(file.sockets.is_empty() && file.pod.generate && !file.pod.auto_update);
    assert_eq!(file.pod.keep_versions, 3);
    assert_eq!(file.pod.update_timeout, Some(Duration::from_secs(90)));
    let file = parse("[App a]\nImage=a\nRequires=\n[Pod]\nUpdateTimeoutSec=infinity\n").unwrap();
    assert_eq!(
        file.apps[0].arguments.flags.requires,
        Some(vec![String::new()])
    );
    assert_eq!(file.pod.update_timeout, None);
}

#[test]
fn lists_are_appended_to_and_reset_and_the_last_of_single_values_holds() {
    let text = "[App a]\nImage=x\nImage=y\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n\
                Environment=C=3\nMemory=1G\nMemory=\nCpu=1\nCpu=2\nExec=/a b\nExec=/c\nRestart=always\nRestart=\n";
    let file = parse(text).unwrap_or_else(|faults| panic!("{:?}", faults.list()));
    let app = &file.apps[0].arguments;
    assert_eq!((app.image.as_str(), app.flags.memory.as_ref()), ("y", None));
    assert_eq!(app.flags.environment.len(), 2);
    assert_eq!(app.flags.cpu.as_ref().unwrap().value["limit"], "2");
    assert_eq!(app.flags.exec.as_deref(), Some("/c"));
    assert!(app.arguments.is_empty() && app.flags.restart.is_none());
}

#[test]
fn every_fault_is_told_with_its_line() {
    let at = |rest: &str| format!("/etc/skim/web.skim:{rest}");
    for (text, expected) in [
        (
            "",
            "/etc/skim/web.skim: it has no app: give an [App NAME] section with Image=",
        ),
        ("[App a]\n", "1: [App a]: Image= is missing"),
        ("[App a]\nImage=\n", "1: [App a]: Image= is missing"),
        (
            "[App]\nImage=a\n",
            "1: [App] needs the app's name: [App NAME]",
        ),
        ("[App A]\nImage=a\n", "1: [App A]: \"A\" is no AC Name"),
        (
            "[Container]\nImage=a\n",
            "1: [Container] is no section of a pod file: an app",
        ),
        (
            "[App a]\nImage=a\nfoo\n",
            "3: `foo` is neither a section nor KEY=VALUE",
        ),
        (
            "[App a]\nImage=a b\n",
            "2: [App a] Image=: it takes one word: put blanks in quotes",
        ),
        (
            "[App a]\nImage=./a.aci\n",
            "2: [App a] Image=: `./a.aci` is a relative path",
        ),
        (
            "[App a]\nImage=oci:a/b\n",
            "2: [App a] Image=: `a/b` is a relative path",
        ),
        (
            "[App a]\nImage=ftp://a\n",
            "2: [App a] Image=: cannot fetch \"ftp://a\"",
        ),
        (
            "[App a]\nImage=a\nImgae=b\n",
            "3: [App a] Imgae=: it is neither a key of [App] nor a directive of a service of systemd; did you mean Image=?",
        ),
        ("[App a]\nImage=a\nMemory=lots\n", "3: [App a] Memory=: "),
        (
            "[App a]\nImage=a\nNotify=maybe\n",
            "3: [App a] Notify=: `maybe` is neither yes nor no",
        ),
        (
            "[App a]\nImage=a\nRestart=often\n",
            "3: [App a] Restart=: `often` (must be one of: no, on-success",
        ),
        (
            "[App a]\nImage=a\nEnvironment=A\n",
            "3: [App a] Environment=: `A` is not of the form NAME=VALUE",
        ),
        (
            "[App a]\nImage=a\nEnvironment=\"A=b\n",
            "3: [App a] Environment=: the quote \"",
        ),
        (
            "[App a]\nImage=a\nEnvironmentFile=b\n",
            "3: [App a] EnvironmentFile=: `b` is no absolute path",
        ),
        (
            "[App a]\nImage=a\nVolume=x,kind=host,source=y\n",
            "3: [App a] Volume=: volume x: ",
        ),
        (
            "[App a]\nImage=a\nRequires=b\n",
            "3: [App a] Requires=: the pod has no app `b`; what it needs of the host",
        ),
        (
            "[App a]\nImage=a\nRequires=a\n",
            "3: [App a] Requires=: an app cannot require itself",
        ),
        (
            "[App a]\nImage=a\nExecStart=/x\n",
            "3: [App a] ExecStart=: it is skim's own to set: use Exec= and Arguments=",
        ),
        (
            "[App a]\nImage=a\nRootImage=/x\n",
            "3: [App a] RootImage=: it is skim's own to set",
        ),
        (
            "[App a]\nImage=a\nSetEnv=A=1\n",
            "3: [App a] SetEnv=: there is no such key: Environment= of [App]",
        ),
        (
            "[App a]\nImage=a\nCapsRetain=CAP_KILL\nCapsRemove=CAP_CHOWN\n",
            "1: [App a]: ",
        ),
        (
            "[App a]\nImage=a\nSocketMode=0600\n",
            "3: [App a] SocketMode=: there is nothing to listen on",
        ),
        (
            "[App a]\nImage=a\nSocket=run/a\n",
            "3: [App a] Socket=: `run/a` is nothing to listen on",
        ),
        (
            "[App a]\nImage=a\nSocket=80\nAccept=yes\n",
            "4: [App a] Accept=: it is skim's own",
        ),
        (
            "[Pod]\nVolumes=a\n[App a]\nImage=a\n",
            "2: [Pod] Volumes=: it is no key of [Pod]; did you mean Volume=?",
        ),
        (
            "[Pod]\nImage=a\n[App a]\nImage=a\n",
            "2: [Pod] Image=: it is no key of [Pod]: it belongs to an app",
        ),
        (
            "[Pod]\nKeepVersions=0\n[App a]\nImage=a\n",
            "2: [Pod] KeepVersions=: `0` is no number from 1 to 100",
        ),
        (
            "[Pod]\nUpdateSettleSec=soon\n[App a]\nImage=a\n",
            "2: [Pod] UpdateSettleSec=: `soon` is no span of time",
        ),
        (
            "[Pod]\nUpdateSettleSec=infinity\n[App a]\nImage=a\n",
            "2: [Pod] UpdateSettleSec=: it cannot be infinity",
        ),
        (
            "[Pod]\nGenerate=perhaps\n[App a]\nImage=a\n",
            "2: [Pod] Generate=: `perhaps` is neither",
        ),
        (
            "[Pod]\nInsecureOptions=alles\n[App a]\nImage=a\n",
            "2: [Pod] InsecureOptions=: `alles` (must be one of: none",
        ),
        (
            "[Pod]\nMaxImageSize=x\n[App a]\nImage=a\n",
            "2: [Pod] MaxImageSize=: `x` is no number of bytes",
        ),
        (
            "[Service]\nType=oneshot\n[App a]\nImage=a\n",
            "2: [Service] Type=: it is skim's own to set: the pod says",
        ),
        (
            "[Service]\nMemoryMax=1G\n[App a]\nImage=a\n",
            "2: [Service] MemoryMax=: here it would not hold for the apps: put it in [Slice]",
        ),
        (
            "[Service]\nUser=a\n[App a]\nImage=a\n",
            "2: [Service] User=: here it would not hold for the apps: put it in [App NAME]",
        ),
        (
            "[Service]\nTyp=a\n[App a]\nImage=a\n",
            "2: [Service] Typ=: it is no directive of [Service] (see systemd.directives(7)); did you mean Type=?",
        ),
        (
            "[Service]\nRestart=no\\\\\n[App a]\nImage=a\n",
            "2: [Service] Restart=: the value of Restart= ends in a backslash",
        ),
        (
            "[Slice]\nUser=a\n[App a]\nImage=a\n",
            "2: [Slice] User=: it is no directive of [Slice]",
        ),
        (
            "[Install]\nAlso=b.service\n[App a]\nImage=a\n",
            "2: [Install] Also=: there is nothing to install",
        ),
        (
            "[Install]\nWantedBy=multi-user\n[App a]\nImage=a\n",
            "2: [Install] WantedBy=: `multi-user` is not the name of a unit",
        ),
        (
            "[Install]\nAlias=a.socket\n[App a]\nImage=a\n",
            "2: [Install] Alias=: `a.socket` does not end in .service",
        ),
        (
            "[Install]\nAlias=dbus.service\n[App a]\nImage=a\n",
            "2: [Install] Alias=: `dbus.service` is a service that the host needs",
        ),
    ] {
        let found = faults(text);
        let expected = match expected.starts_with('/') {
            true => expected.to_string(),
            false => at(expected),
        };
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{text:?}: {found:#?}"
        );
    }
}

#[test]
fn faults_are_told_all_at_once_in_the_order_of_the_lines() {
    let text = "[App a]\nImage=a\nNotify=x\n[Pod]\nX=1\n[App b]\nMemory=z\n[Nope]\n";
    let found = faults(text);
    let lines: Vec<_> = found
        .iter()
        .map(|fault| fault.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["3", "5", "6", "7", "8"], "{found:#?}");
    let whole = parse(text).unwrap_err().to_string();
    assert!(
        whole.ends_with("(and 4 more faults: see skim check)"),
        "{whole}"
    );
}

#[test]
fn hostile_texts_are_bounded_and_told_without_control_characters() {
    let many: String = (0..1100)
        .map(|n| format!("[App a{n}]\nImage=a\n"))
        .collect();
    assert!(faults(&many)[0].contains("it has over 1024 apps"));
    let ports = format!("[App a]\nImage=a\nSocket={}\n", "80 ".repeat(2000));
    assert!(faults(&ports)[0].contains("there are over 1024 addresses"));
    for text in [
        "[App a]\nImage=\"\\x1b[2J\"\n[\u{7}]\n",
        "[App a]\nImage=a\nMemory=\"\\x1b[2J\"\nRestart=\"\\n\"\nSocket=\"\\x1b\"\n",
        "[Pod]\nGenerate=\"\\x1b\"\nKeepVersions=\u{1b}\n[Slice]\n\u{1b}=1\n",
    ] {
        for fault in faults(text) {
            assert!(!fault.contains(char::is_control), "{fault:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_pod_file_panics(lines in proptest::collection::vec(line(), 0..30)) {
        let text = lines.concat();
        if let Err(faults) = parse(&text) {
            for fault in faults.list() {
                prop_assert!(!fault.to_string().contains(char::is_control));
            }
        }
    }
}

/// A line of a pod file, right or wrong.
fn line() -> impl Strategy<Value = String> {
    let heading = prop_oneof![
        Just("App web"),
        Just("App db"),
        Just("App"),
        Just("Pod"),
        Just("Slice"),
        Just("Unit"),
        Just("Service"),
        Just("Install"),
        Just("Zap"),
    ];
    let mut keys: Vec<String> = keys::flags().iter().map(|key| key.key.clone()).collect();
    keys.extend(
        keys::APP
            .iter()
            .chain(keys::POD)
            .map(|(key, ..)| (*key).to_string()),
    );
    keys.extend(["WantedBy", "Alias", "ListenStream", "Type", "MemoryMax"].map(str::to_string));
    let value = prop_oneof!["\\PC{0,30}", "[a-z0-9=,/%\"' \\\\:.]{0,30}"];
    prop_oneof![
        1 => heading.prop_map(|name| format!("[{name}]\n")),
        4 => (proptest::sample::select(keys), value).prop_map(|(key, value)| format!("{key}={value}\n")),
    ]
}

/// The pod files in a page: blocks of code that begin with the path of one, or of a drop-in.
fn pod_files(page: &'static str) -> Vec<&'static str> {
    let blocks = page.split("```").skip(1).step_by(2);
    let pod_files = blocks.filter_map(|block| block.strip_prefix("ini\n"));
    pod_files
        .filter(|text| text.starts_with("# /etc/skim/"))
        .collect()
}

#[test]
fn pod_files_of_the_documents_and_those_that_are_shipped_are_right() {
    let pages = [
        include_str!("../../../docs/docker-on-a-container-os.md"),
        include_str!("../../../docs/from-portable-services.md"),
        include_str!("../../../docs/from-quadlet.md"),
        include_str!("../../../docs/from-sysext.md"),
        include_str!("../../../docs/pod-files.md"),
    ];
    let shipped = [
        include_str!("../../../units/docker/containerd.skim"),
        include_str!("../../../units/docker/docker.skim"),
    ];
    let mut texts = shipped.to_vec();
    for page in pages {
        let found = pod_files(page);
        assert!(!found.is_empty(), "{page}");
        texts.extend(found);
    }
    for text in texts {
        if let Err(faults) = parse(text) {
            panic!("{faults}\n{text}");
        }
    }
}
