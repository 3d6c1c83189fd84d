//! The sockets of an image's unit: `NAME.socket` beside it, whose `[Socket]` becomes a socket of the
//! app.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use stage1_skim::pod::{Protocol, SocketPlan};
use stage1_skim::unit::{Section, Setting};

use super::find::{self, ImageUnit, UnitLine};
use super::specifiers::UnitName;
use super::{Planning, refuse};

/// Most sockets of a unit.
const SOCKETS_MAX: usize = 64;

/// The directives by which a service names its sockets.
const NAMING: [(&str, &str); 6] = [
    ("Install", "Also"),
    ("Service", "Sockets"),
    ("Unit", "BindsTo"),
    ("Unit", "Requires"),
    ("Unit", "Requisite"),
    ("Unit", "Wants"),
];

/// What is taken from `[Socket]` (systemd.socket(5)).
const KEPT: [&str; 44] = [
    "Backlog",
    "BindIPv6Only",
    "BindToDevice",
    "Broadcast",
    "DeferAcceptSec",
    "DirectoryMode",
    "FileDescriptorName",
    "FlushPending",
    "FreeBind",
    "IPTOS",
    "IPTTL",
    "KeepAlive",
    "KeepAliveIntervalSec",
    "KeepAliveProbes",
    "KeepAliveTimeSec",
    "ListenDatagram",
    "ListenFIFO",
    "ListenMessageQueue",
    "ListenNetlink",
    "ListenSequentialPacket",
    "ListenSpecial",
    "ListenStream",
    "Mark",
    "MaxConnections",
    "MaxConnectionsPerSource",
    "MessageQueueMaxMessages",
    "MessageQueueMessageSize",
    "NoDelay",
    "PassCredentials",
    "PassPacketInfo",
    "PassSecurity",
    "PipeSize",
    "PollLimitBurst",
    "PollLimitIntervalSec",
    "Priority",
    "ReceiveBuffer",
    "RemoveOnStop",
    "ReusePort",
    "SendBuffer",
    "SocketMode",
    "SocketProtocol",
    "Symlinks",
    "TCPCongestion",
    "Transparent",
];

/// The names that the unit calls its sockets by.
fn named(unit: &ImageUnit) -> BTreeSet<String> {
    let lines = unit.lines.iter().filter(|line| {
        let mut naming = NAMING.iter();
        naming.any(|(section, key)| line.section == *section && line.key == *key)
    });
    let words = lines.flat_map(|line| line.value.split_whitespace());
    let names = words.filter_map(|word| unit.name.expand_value(word).ok());
    names.filter(|name| name.ends_with(".socket")).collect()
}

/// The socket `name` of the image, where it is the unit's.
fn own(planning: &Planning<'_>, name: &str) -> Result<Option<ImageUnit>> {
    // What the image has not is the host's.
    let Some(socket) = find::find_any(planning.tree, name)? else {
        return Ok(None);
    };
    let stem = socket.name.full.strip_suffix(".socket");
    let mut service = stem.map(|stem| format!("{stem}.service"));
    for line in &socket.lines {
        if line.section == "Socket" && line.key == "Service" {
            service = socket.name.expand_value(line.value.trim()).ok();
        }
    }
    let is_own = service.is_some_and(|name| planning.unit.names.contains(&name));
    Ok(is_own.then_some(socket))
}

/// The names of the units of the app's sockets, which the app's own take the place of.
///
/// # Errors
/// Where one that the image has is masked or faulty.
pub fn units(planning: &Planning<'_>) -> Result<BTreeSet<String>> {
    let names = named(planning.unit).into_iter();
    let names = names.filter_map(|name| match own(planning, &name) {
        Ok(socket) => socket.map(|_| Ok(name)),
        Err(error) => Some(Err(error)),
    });
    names.collect()
}

/// The sockets of the unit; none where the user gives the app some by `--property=Sockets=`.
///
/// # Errors
/// What of one skim cannot do.
pub fn plan(planning: &Planning<'_>) -> Result<Vec<SocketPlan>> {
    let mut given = planning.request.settings.iter();
    if given.any(|setting| setting.key == "Sockets") {
        return Ok(Vec::new());
    }
    let names = named(planning.unit);
    ensure!(
        names.len() <= SOCKETS_MAX,
        "the unit has over {SOCKETS_MAX} sockets"
    );
    let sockets = names
        .iter()
        .filter_map(|name| own(planning, name).transpose());
    let plans: Result<Vec<_>> = sockets.map(|socket| one(planning, &socket?)).collect();
    let plans = plans?;
    let distinct: BTreeSet<_> = plans.iter().map(|plan| &plan.name).collect();
    ensure!(
        distinct.len() == plans.len(),
        "two of the unit's sockets have names that differ in signs only"
    );
    Ok(plans)
}

fn one(planning: &Planning<'_>, socket: &ImageUnit) -> Result<SocketPlan> {
    let name = &socket.name;
    let mut settings = vec![
        Setting::socket("FileDescriptorName", name.full.clone()),
        // Nothing is to be left of a pod.
        Setting::socket("RemoveOnStop", "yes"),
    ];
    let own = settings.len();
    for line in socket.lines.iter().filter(|line| line.section == "Socket") {
        let setting = setting(planning, name, line).with_context(|| line.place())?;
        settings.extend(setting);
    }
    let further = &settings[own..];
    ensure!(
        further
            .iter()
            .any(|setting| setting.key.starts_with("Listen")),
        "the unit {} of the image listens to nothing",
        name.full
    );
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    let stem = name.full.trim_end_matches(".socket");
    Ok(SocketPlan {
        name: stem.chars().map(plain).collect(),
        protocol: Protocol::Tcp,
        port: 0,
        count: 0,
        settings,
    })
}

fn setting(planning: &Planning<'_>, name: &UnitName, line: &UnitLine) -> Result<Option<Setting>> {
    let key = line.key.as_str();
    let value = name.expand_value(line.value.trim())?;
    match key {
        "Service" => Ok(None),
        "Accept" if !["yes", "true", "1", "on"].contains(&value.as_str()) => Ok(None),
        "Accept" => refuse(
            key,
            "an app of a pod is one service, not one for each connection",
        ),
        "SocketUser" | "SocketGroup" => Ok(account(planning, key, &value, line)?),
        _ if KEPT.contains(&key) => Setting::checked(Section::Socket, key, &value).map(Some),
        _ if key.starts_with("Exec") => refuse(key, "a socket of a pod has no commands"),
        _ => {
            log::warn!(
                "app {}: {}: {}= is left out",
                planning.app,
                line.place(),
                key.escape_debug()
            );
            Ok(None)
        }
    }
}

/// Who may connect are users of the host: where it has none of that name, root's alone.
fn account(
    planning: &Planning<'_>,
    key: &str,
    value: &str,
    line: &UnitLine,
) -> Result<Option<Setting>> {
    let table = match key {
        "SocketUser" => "etc/passwd",
        _ => "etc/group",
    };
    let path = planning.host.join(table);
    let table = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table = String::from_utf8_lossy(&table);
    let mut names = table.lines().filter_map(|line| line.split(':').next());
    if value == "root" || names.any(|name| name == value) {
        return Setting::checked(Section::Socket, key, value).map(Some);
    }
    log::warn!(
        "app {}: {}: {key}= is left out: the host has no `{}`",
        planning.app,
        line.place(),
        value.escape_debug()
    );
    Ok(None)
}
