//! Sockets that systemd opens for an app before it starts: pure.

use crate::escape;
use crate::names::PodUnits;
use crate::pod::{AppPlan, PodPlan, Protocol, SocketPlan};
use crate::unit::{self, Setting};
use crate::units::UnitFile;

/// The names of the pod's sockets.
pub fn names(plan: &PodPlan, units: &PodUnits) -> Vec<String> {
    let apps = plan.apps.iter();
    let sockets = apps.flat_map(|app| app.sockets.iter().map(move |socket| (app, socket)));
    sockets
        .map(|(app, socket)| units.socket(&app.name, &socket.name))
        .collect()
}

/// What stands in an app's service for its sockets: where one cannot be opened, as its port is
/// taken, the app does not start.
pub fn of_service(app: &AppPlan, units: &PodUnits) -> Vec<Setting> {
    let names = app
        .sockets
        .iter()
        .map(|socket| units.socket(&app.name, &socket.name));
    names
        .flat_map(|name| {
            [
                Setting::unit("Requires", name.clone()),
                Setting::unit("After", name),
            ]
        })
        .collect()
}

/// The unit files of an app's sockets. One is open for as long as its app needs it: also while the app
/// is started again.
pub fn unit_files(plan: &PodPlan, app: &AppPlan, units: &PodUnits) -> Vec<UnitFile> {
    let files = app.sockets.iter().map(|socket| UnitFile {
        name: units.socket(&app.name, &socket.name),
        text: unit::render(&[], &settings(plan, app, socket, units)),
    });
    files.collect()
}

fn settings(plan: &PodPlan, app: &AppPlan, socket: &SocketPlan, units: &PodUnits) -> Vec<Setting> {
    let description = format!("{} of {} of skim pod {}", socket.name, app.name, plan.uuid);
    let mut settings = vec![
        Setting::unit("Description", escape::text(&description)),
        Setting::unit("CollectMode", "inactive-or-failed"),
        Setting::unit("StopWhenUnneeded", "yes"),
        Setting::socket("Service", units.service(&app.name)),
        Setting::socket("Slice", units.slice()),
        Setting::socket("FileDescriptorName", escape::text(&socket.name)),
    ];
    let listen = match socket.protocol {
        Protocol::Tcp => "ListenStream",
        Protocol::Udp => "ListenDatagram",
    };
    let ports = (socket.port..=u16::MAX).take(usize::from(socket.count));
    settings.extend(ports.map(|port| Setting::socket(listen, port.to_string())));
    settings
}
