//! Tests of the units that pod files give.

use super::*;

fn text(name: &str, text: &str) -> Text {
    Text {
        path: format!("/etc/skim/{name}.skim").into(),
        text: text.to_string(),
    }
}

fn made(name: &str, file: &str) -> Vec<Output> {
    let file = PodFile::parse(name, &[text(name, file)]).unwrap();
    outputs(&file, Path::new("/usr/bin/skim")).unwrap()
}

#[test]
fn a_pod_file_gives_a_service() {
    let outputs = made(
        "web",
        "[Unit]\nAfter=network-online.target\n[Service]\nRestart=on-failure\nTimeoutStartSec=5min\n\
         ExecStartPost=\n[App web]\nImage=a\n[Install]\nWantedBy=multi-user.target\nAlias=www.service\n",
    );
    let expected = "\
# made of /etc/skim/web.skim
# what is written here is lost: change the files above

[Unit]
Description=skim pod web
After=network-online.target
SourcePath=/etc/skim/web.skim
After=dbus.service dbus.socket
RequiresMountsFor=/var/lib/skim

[Service]
TimeoutStartSec=infinity
TimeoutStopSec=infinity
Restart=on-failure
TimeoutStartSec=5min
ExecStartPost=
Type=notify
NotifyAccess=main
Slice=skim.slice
ExecStart=\":@/usr/bin/skim\" \"skim\" \"service\" \"run\" \"web\"
ExecReload=\":@/usr/bin/skim\" \"skim\" \"service\" \"reload\" \"web\"
ExecStartPost=-\":@/usr/bin/skim\" \"skim\" \"service\" \"sweep\" \"web\"
ExecStopPost=-\":@/usr/bin/skim\" \"skim\" \"service\" \"sweep\" \"web\"
";
    let link = |path: &str, to: &str| Output::Link(path.into(), to.into());
    assert_eq!(
        outputs,
        [
            Output::File("web.service".into(), expected.into()),
            link("multi-user.target.wants/web.service", "../web.service"),
            link("www.service", "web.service"),
        ]
    );
}

#[test]
fn sockets_are_units_that_start_the_pod() {
    let outputs = made(
        "web",
        "[App web]\nImage=a\nSocket=80\n[App db]\nImage=a\nSocket=/run/d%b.sock\nSocketMode=0600\n",
    );
    let paths: Vec<_> = outputs.iter().map(Output::path).collect();
    assert_eq!(
        paths,
        [
            "web.service",
            "web.socket",
            "sockets.target.wants/web.socket",
            "web-db.socket",
            "sockets.target.wants/web-db.socket"
        ]
    );
    let texts: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::File(_, text) => Some(text.as_str()),
            Output::Link(..) => None,
        })
        .collect();
    assert!(texts[0].contains("\nWants=web.socket\nAfter=web.socket\nWants=web-db.socket\n"));
    assert_eq!(
        texts[2],
        "[Unit]\nDescription=sockets of db of skim pod web\nSourcePath=/etc/skim/web.skim\n\n\
         [Socket]\nListenStream=/run/d%%b.sock\nSocketMode=0600\nService=web.service\nSlice=skim.slice\n"
    );
}

#[test]
fn a_file_may_ask_for_no_unit() {
    assert_eq!(
        made("web", "[Pod]\nGenerate=no\n[App web]\nImage=a\nSocket=80\n"),
        []
    );
}

#[test]
fn a_faulty_file_gives_a_unit_that_fails_where_it_was_wanted() {
    let broken = "[App web]\nImage=\nMemory=%n\n[Install]\nWantedBy=multi-user.target\nAlso=x\nRequiredBy=bad\nfoo\n";
    let texts = [text("web", broken)];
    let faults = PodFile::parse("web", &texts).unwrap_err();
    let skim = Path::new("/usr/bin/skim");
    let outputs = faulty("web", &texts, &faults, skim).unwrap();
    let Output::File(name, unit) = &outputs[0] else {
        panic!("{outputs:?}");
    };
    assert_eq!(name, "web.service");
    for part in [
        "Description=skim pod web, whose file is faulty: /etc/skim/web.skim:8: `foo` is neither",
        "SourcePath=/etc/skim/web.skim\n",
        "ExecStart=\":@/usr/bin/skim\" \"skim\" \"check\" \"--status\" \"web\"\n",
    ] {
        assert!(unit.contains(part), "{unit}");
    }
    let link = Output::Link(
        "multi-user.target.wants/web.service".into(),
        "../web.service".into(),
    );
    assert_eq!(outputs[1..], [link]);
    let other = [text("web", "[Pod]\nGenerate=no\n[App web]\n")];
    let faults = PodFile::parse("web", &other).unwrap_err();
    assert_eq!(faulty("web", &other, &faults, skim).unwrap(), []);
}

#[test]
fn units_of_one_pod_do_not_share_a_name() {
    let file = "[App web]\nImage=a\n[Install]\nAlias=web.service b.service b.service\n";
    assert_eq!(made("web", file).len(), 2);
}

#[test]
fn skim_is_beside_its_generator() {
    for (own, first) in [
        (
            "/usr/lib/systemd/system-generators/skim-generator",
            "/usr/bin/skim",
        ),
        (
            "/usr/local/lib/systemd/system-generators/skim-generator",
            "/usr/local/bin/skim",
        ),
        ("/lib/systemd/system-generators/skim-generator", "/bin/skim"),
        ("/target/debug/skim-generator", "/target/debug/skim"),
    ] {
        assert_eq!(candidates(Path::new(own))[0], Path::new(first));
    }
}

#[test]
fn shipped_pod_files_are_right() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../units/docker");
    for name in ["docker", "containerd"] {
        let path = Path::new(shipped).join(format!("{name}.skim"));
        let text = std::fs::read_to_string(&path).unwrap();
        let file = PodFile::parse(name, &[Text { path, text }]);
        let file = file.unwrap_or_else(|faults| panic!("{:?}", faults.list()));
        assert!(!file.pod.generate);
    }
}
