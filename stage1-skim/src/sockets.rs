//! Sockets that systemd opens for an app before it starts: pure.
//!
//! The first connection starts the app, unless another app of the pod requires it: then it starts
//! with the pod. The scope wants the one or the other.
//!
//! An app that a connection starts is wanted by nobody, so that `StopWhenUnneeded=` would end it
//! at once. It stops with its sockets instead, which stop when the scope ends. Nor does it require
//! them: else it would keep them needed.

use crate::escape;
use crate::names::PodUnits;
use crate::pod::{AppPlan, PodPlan, Protocol, SocketPlan};
use crate::unit::{self, Setting};
use crate::units::UnitFile;

/// The names of the pod's sockets.
pub fn names(plan: &PodPlan, units: &PodUnits) -> Vec<String> {
    let apps = plan.apps.iter();
    apps.flat_map(|app| of_app(app, units)).collect()
}

/// Whether it is a connection to its sockets that starts the app. One whose sockets are a unit's of
/// its image starts with the pod: it is that unit which is asked for.
pub fn start(plan: &PodPlan, app: &AppPlan) -> bool {
    let mut required = plan.apps.iter().flat_map(|other| &other.requires);
    let mut sockets = app.sockets.iter();
    !app.sockets.is_empty()
        && sockets.all(|socket| socket.settings.is_empty())
        && !required.any(|name| *name == app.name)
}

/// The names of the app's sockets.
pub fn of_app(app: &AppPlan, units: &PodUnits) -> Vec<String> {
    let sockets = app.sockets.iter();
    sockets
        .map(|socket| units.socket(&app.name, &socket.name))
        .collect()
}

/// What stands in an app's service for its sockets: where the app starts with the pod, and one
/// cannot be opened, as its port is taken, it does not start.
pub fn of_service(plan: &PodPlan, app: &AppPlan, units: &PodUnits) -> Vec<Setting> {
    let bond = match start(plan, app) {
        true => "PartOf",
        false => "Requires",
    };
    of_app(app, units)
        .into_iter()
        .flat_map(|name| {
            [
                Setting::unit(bond, name.clone()),
                Setting::unit("After", name),
            ]
        })
        .collect()
}

/// The unit files of an app's sockets, which are in the pod's `order`. One is open for as long as
/// its app, or the pod, needs it: also while the app is started again.
pub fn unit_files(
    plan: &PodPlan,
    app: &AppPlan,
    units: &PodUnits,
    order: &[Setting],
) -> Vec<UnitFile> {
    let files = app.sockets.iter().map(|socket| UnitFile {
        name: units.socket(&app.name, &socket.name),
        text: unit::render(&[], &settings(plan, app, socket, units, order)),
    });
    files.collect()
}

fn settings(
    plan: &PodPlan,
    app: &AppPlan,
    socket: &SocketPlan,
    units: &PodUnits,
    order: &[Setting],
) -> Vec<Setting> {
    let description = format!("{} of {} of skim pod {}", socket.name, app.name, plan.uuid);
    let mut settings = vec![
        Setting::unit("Description", escape::text(&description)),
        Setting::unit("CollectMode", "inactive-or-failed"),
        Setting::unit("StopWhenUnneeded", "yes"),
        Setting::unit("PartOf", units.scope()),
    ];
    settings.extend_from_slice(order);
    settings.extend([
        Setting::socket("Service", units.service(&app.name)),
        Setting::socket("Slice", units.slice()),
        Setting::socket("FileDescriptorName", escape::text(&socket.name)),
    ]);
    if !socket.settings.is_empty() {
        settings.extend_from_slice(&socket.settings);
        // Headings stand once.
        settings.sort_by_key(|setting| setting.section);
        return settings;
    }
    let listen = match socket.protocol {
        Protocol::Tcp => "ListenStream",
        Protocol::Udp => "ListenDatagram",
    };
    let ports = (socket.port..=u16::MAX).take(usize::from(socket.count));
    settings.extend(ports.map(|port| Setting::socket(listen, port.to_string())));
    settings
}
