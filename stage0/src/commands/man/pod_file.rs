//! skim.pod(5): pod files, from the same tables that they are parsed by.

use anyhow::Result;
use clap_mangen::roff::{Roff, roman};

use super::{items, text, tidy, verbatim};
use crate::pod_file::keys;

/// The page's file name.
pub const NAME: &str = "skim.pod.5";

const EXAMPLE: &str = "\
  # /etc/skim/web.skim
  [Unit]
  Description=Web server and its database
  Wants=network-online.target
  After=network-online.target

  [Pod]
  Volume=data,kind=host,source=/srv/db
  Environment=TZ=Europe/Berlin

  [App db]
  Image=docker://registry.example.com/db:16
  Arguments=--datadir {volume:data}
  Mount=volume=data,target=/var/lib/db
  Notify=yes
  Memory=2G

  [App web]
  Image=/srv/images/web.aci
  Requires=db
  Socket=80 443
  LimitNOFILE=65536

  [Service]
  Restart=on-failure

  [Install]
  WantedBy=multi-user.target

  # skim check web
  # systemctl daemon-reload
  # systemctl start web";

const DESCRIPTION: [&str; 5] = [
    "A pod file NAME.skim describes a pod, and systemd runs it as NAME.service: a generator (systemd.generator(7)) makes that unit at boot and at systemctl daemon-reload. systemctl and journalctl then work on NAME as on any other service.",
    "It is looked for in /etc/skim, /run/skim and /usr/lib/skim; the first one found holds. An empty file, or a link to /dev/null, masks one of a later directory. Drop-ins NAME.skim.d/*.conf of all three directories are applied after it in the order of their names; of two of one name the first directory's holds. node-.skim.d/*.conf is for all pod files whose names begin with node-, skim.d/*.conf for all; of two of one name the more specific one holds. Lists are appended to, of other keys the last assignment holds, and an empty one takes back what stands before it.",
    "The syntax is that of unit files, systemd.syntax(7). Values of the keys below are split into words and unquoted as systemd does; % and $ stand for themselves. What is passed on to systemd is unit text as it stands. Paths are absolute. An unknown section or key is an error; sections X-… are left to others.",
    "A generated unit cannot be enabled by systemctl enable: [Install] holds as soon as systemd has read the file. Take it away, by a drop-in with an empty WantedBy=, to have the pod start no more at boot; mask the file to have no unit at all. skim-pod@NAME.service, a unit of its own that runs NAME.skim (with Generate=no in [Pod]) or the pod manifest NAME.json, can be enabled.",
    "A faulty file gives a service that fails with the reason in its status; skim check tells all that is wrong.",
];

const SECTIONS: &[(&str, &str)] = &[
    ("[Pod]", "What holds for the pod as a whole; keys below."),
    (
        "[App NAME]",
        "An app, one section each, in the order in which they start; keys below. Any other key is a directive of systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5) or systemd.resource-control(5) and goes to the app's service as --property does: LimitNOFILE=, Delegate=, ExecReload=, After=; or one of systemd.socket(5), which goes to the unit that listens for the app: ListenDatagram=, SocketMode=.",
    ),
    (
        "[Slice]",
        "Directives of systemd.slice(5) for all apps together: MemoryMax=, CPUWeight=.",
    ),
    (
        "[Unit]",
        "Goes to NAME.service: Description=, After=, Wants=, …",
    ),
    (
        "[Service]",
        "Goes to NAME.service: Restart= and its like, Timeout…Sec=, ExecStartPre=, ExecStartPost=, ExecStopPost=, ExecCondition=, SuccessExitStatus=. What would act on processes belongs into [App NAME] or [Slice], and is refused here.",
    ),
    (
        "[Install]",
        "WantedBy=, RequiredBy=, UpheldBy= (not in systemd 252), Alias=. Also= and DefaultInstance= have no use.",
    ),
];

/// The page.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn page(version: &str) -> Result<Vec<u8>> {
    let mut roff = Roff::new();
    let source = format!("skim {version}");
    roff.control("TH", ["SKIM.POD", "5", " ", &source, "skim"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("skim.pod - pod files, from which systemd runs pods")]);
    verbatim(
        &mut roff,
        "SYNOPSIS",
        "/etc/skim/NAME.skim\n/run/skim/NAME.skim\n/usr/lib/skim/NAME.skim\nNAME.skim.d/*.conf",
    );
    text(&mut roff, "DESCRIPTION", &DESCRIPTION);
    items(&mut roff, "SECTIONS", SECTIONS);
    for (heading, keys) in [
        ("KEYS OF [POD]", pod_keys()),
        ("KEYS OF [APP NAME]", app_keys()),
    ] {
        let keys: Vec<_> = keys
            .iter()
            .map(|(key, help)| (key.as_str(), help.as_str()))
            .collect();
        items(&mut roff, heading, &keys);
    }
    verbatim(&mut roff, "EXAMPLES", EXAMPLE);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "skim(1), skim-run(1), skim-check(1), systemd.syntax(7), systemd.unit(5), systemd.service(5), systemd.socket(5), systemd.generator(7), systemd.time(7)",
    )]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(tidy(&String::from_utf8(page)?).into_bytes())
}

/// The keys of `[Pod]`, and what they mean.
fn pod_keys() -> Vec<(String, String)> {
    rows(keys::POD).collect()
}

/// The keys of `[App NAME]`, and what they mean.
fn app_keys() -> Vec<(String, String)> {
    let flags = keys::flags().iter().map(|key| {
        let help = format!("{} (--{})", key.help, key.flag);
        (format!("{}={}", key.key, key.value), sentence(&help))
    });
    rows(keys::APP).chain(flags).collect()
}

fn rows<'a>(table: &'a [(&str, &str, &str)]) -> impl Iterator<Item = (String, String)> + 'a {
    table
        .iter()
        .map(|(key, value, help)| (format!("{key}={value}"), sentence(help)))
}

fn sentence(help: &str) -> String {
    format!("{}.", help.replace('\n', " ").trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_page() {
        let page = String::from_utf8(page("1").unwrap()).unwrap();
        let flags = keys::flags().iter().map(|key| key.key.as_str());
        let tables = keys::POD.iter().chain(keys::APP).map(|(key, ..)| *key);
        for key in flags.chain(tables) {
            assert!(page.contains(&format!("\\fB{key}=")), "{key}");
        }
    }

    #[test]
    fn every_key_is_in_the_reference() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pod-files.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let flags = keys::flags().iter().map(|key| key.key.as_str());
        let tables = keys::POD.iter().chain(keys::APP).map(|(key, ..)| *key);
        for key in flags.chain(tables) {
            assert!(docs.contains(&format!("`{key}=")), "{key}");
        }
    }

    #[test]
    fn the_example_is_a_pod_file() {
        let text: Vec<_> = EXAMPLE.lines().map(|line| line.trim_start()).collect();
        let path = "/etc/skim/web.skim".into();
        let text = crate::pod_file::Text {
            path,
            text: text.join("\n"),
        };
        let file = crate::pod_file::PodFile::parse("web", &[text]);
        assert_eq!(file.unwrap().apps.len(), 2);
    }
}
