//! What systemd listens on for an app: `Socket=` in `[App NAME]`, and the directives of
//! systemd.socket(5) beside it. Pure.

use stage1_skim::names::UNIT_NAME_MAX;
use stage1_skim::unit::{self, Setting};
use stage1_skim::{directives, escape};

use super::fault::Fault;
use super::grammar;
use super::keys::Kind;
use super::lines::Assignment;
use super::name;

/// Most addresses of one app.
const ADDRESSES_MAX: usize = 1024;

/// Directives of `[Socket]` that no pod file sets, and why.
const OWN: &[(&str, &str)] = &[
    ("Accept", "the pod takes the listening socket itself"),
    ("Service", "the socket starts the pod's service"),
];

/// What opens something to listen on.
const LISTEN: &[&str] = &[
    "ListenStream",
    "ListenDatagram",
    "ListenSequentialPacket",
    "ListenFIFO",
    "ListenSpecial",
    "ListenNetlink",
    "ListenMessageQueue",
    "ListenUSBFunction",
];

/// A socket unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketUnit {
    /// Its name: `NAME.socket` for the app that is called as the pod, else `NAME-APP.socket`.
    pub name: String,
    /// The app that gets its sockets.
    pub app: String,
    /// Its section `[Socket]`.
    pub settings: Vec<Setting>,
}

/// Whether a key is a directive of `[Socket]`.
pub fn is_directive(key: &str) -> bool {
    directives::known("Socket").any(|known| known == key)
}

/// The socket unit of an app; `None` where systemd listens on nothing for it. `listen` are the
/// directives of `[Socket]` among `lines`.
pub fn unit(
    app: &str,
    pod: &str,
    lines: &[Assignment],
    listen: &[&Assignment],
    faults: &mut Vec<Fault>,
) -> Option<SocketUnit> {
    let value = grammar::value(lines, "Socket", Kind::List, faults);
    let mut settings = Vec::new();
    for (word, line) in &value.words {
        match address(word) {
            Ok(address) => settings.push(Setting::socket("ListenStream", address)),
            Err(what) => faults.push(line.fault(what)),
        }
    }
    for line in listen {
        match directive(line) {
            Ok(setting) => settings.push(setting),
            Err(what) => faults.push(line.fault(what)),
        }
    }
    let addresses = settings
        .iter()
        .filter(|setting| LISTEN.contains(&setting.key.as_str()) && !setting.value.is_empty());
    let count = addresses.count();
    if let (0, Some(first)) = (count, listen.first())
        && value.words.is_empty()
    {
        faults.push(first.fault("there is nothing to listen on: give Socket=, too"));
    }
    let stem = match app == pod {
        true => pod.to_string(),
        false => format!("{pod}-{app}"),
    };
    let name = format!("{stem}.socket");
    // It would take the place of the host's.
    let is_reserved = count > 0 && name::is_reserved(&stem);
    let is_long = name.len() > UNIT_NAME_MAX;
    if count > ADDRESSES_MAX || is_long || is_reserved {
        let what = if count > ADDRESSES_MAX {
            format!("there are over {ADDRESSES_MAX} addresses")
        } else if is_long {
            format!("`{name}` is too long for the name of a unit: shorten the app's")
        } else {
            format!("`{name}` is the name of a socket that the host needs: rename the app")
        };
        let line = value.last.or_else(|| listen.first().copied());
        faults.extend(line.map(|line| line.fault(what)));
    }
    (count > 0).then(|| SocketUnit {
        name,
        app: app.to_string(),
        settings,
    })
}

fn directive(line: &Assignment) -> Result<Setting, String> {
    if let Some((_, why)) = OWN.iter().find(|(own, _)| *own == line.key) {
        return Err(format!("it is skim's own to set: {why}"));
    }
    unit::check_value(&line.key, &line.value).map_err(|error| format!("{error:#}"))?;
    Ok(Setting::socket(&line.key, line.value.clone()))
}

/// An address of `Socket=` as unit text: a port, `ADDRESS:PORT`, `/PATH`, `@NAME`, `vsock:…`.
fn address(word: &str) -> Result<String, String> {
    let shown = word.escape_debug();
    let wrong = || {
        format!(
            "`{shown}` is nothing to listen on: give a port, IP:PORT, [IPv6]:PORT, /PATH or @NAME"
        )
    };
    let unit_text = escape::specifiers(word);
    if word.starts_with('/') {
        return escape::path(word.as_ref()).map_err(|error| format!("`{shown}`: {error}"));
    }
    let name = word
        .strip_prefix('@')
        .or_else(|| word.strip_prefix("vsock:"));
    if let Some(name) = name {
        let good = !name.is_empty()
            && !name.chars().any(char::is_control)
            && !name.ends_with(|c: char| c.is_whitespace() || c == '\\');
        return good.then_some(unit_text).ok_or_else(wrong);
    }
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let is_address = port(word)
        || word
            .parse::<std::net::SocketAddr>()
            .is_ok_and(|address| address.port() > 0);
    is_address.then_some(unit_text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_file::{PodFile, Text};

    #[test]
    fn sockets_of_the_host_keep_their_names() {
        for (pod, app, good) in [
            ("web", "web", true),
            ("web", "systemd", true),
            ("debug", "shell", false),
            ("skim", "gc", false),
        ] {
            for (line, good) in [("Socket=80", good), ("Memory=1G", true)] {
                let text = format!("[App {app}]\nImage=a\n{line}\n");
                let path = format!("/etc/skim/{pod}.skim").into();
                let parsed = PodFile::parse(pod, &[Text { path, text }]);
                assert_eq!(parsed.is_ok(), good, "{pod} {app} {line}");
                if let Err(faults) = parsed {
                    let what = faults.to_string();
                    let part = format!("`{pod}-{app}.socket` is the name of a socket");
                    assert!(what.contains(&part), "{what}");
                }
            }
        }
    }

    #[test]
    fn addresses() {
        for (word, text) in [
            ("80", "80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("/run/a b%h.sock", "/run/a b%%h.sock"),
            ("@abstract%n", "@abstract%%n"),
            ("vsock:2:80", "vsock:2:80"),
        ] {
            assert_eq!(address(word).unwrap(), text);
        }
        for bad in [
            "",
            "0",
            "65536",
            "run/a",
            "localhost:80",
            "127.0.0.1",
            "/a\n",
            "/a ",
            "@",
            "@a\\",
        ] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
    }
}
