//! What is asked of systemd for one app, beyond its isolators. Pure.

use anyhow::{Context, Result};
use stage1_skim::unit::{self, Setting};

use super::super::request::AppRequest;
use super::DROPIN;
use crate::image::manifest::App;

/// The signal that systemd ends a service with (systemd.kill(5)).
const KILL_SIGNAL: &str = "KillSignal";

/// How systemd tells that a service is up (systemd.service(5)).
const TYPE: &str = "Type";

/// What the user asks of systemd: flags that stand for one setting, then `--property`.
pub fn of_user(request: &AppRequest) -> Vec<Setting> {
    // Of two the last would hold.
    let own = request.settings.iter().any(|setting| setting.key == TYPE);
    let notify = request.notify.filter(|_| !own);
    let kind = notify.map(|notify| match notify {
        true => "notify".to_string(),
        false => "exec".to_string(),
    });
    let flags = [
        (TYPE, kind),
        ("Restart", request.restart.clone()),
        (KILL_SIGNAL, request.stop_signal.clone()),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(key, value)| Some(Setting::service(key, value?)));
    flags.chain(request.settings.iter().cloned()).collect()
}

/// What the image asks of systemd: the signal that ends its app, unless its drop-in or the user
/// says otherwise, and its drop-in, unless the pod manifest has its own.
///
/// # Errors
/// Where the drop-in is no unit text.
pub fn of_image(request: &AppRequest, section: &App) -> Result<Vec<Setting>> {
    let dropin = request.image.manifest.annotation(DROPIN);
    let mut settings = match dropin.filter(|_| !request.replaces_dropin) {
        Some(text) => unit::parse(text).with_context(|| format!("annotation {DROPIN}"))?,
        None => Vec::new(),
    };
    // A unit of the image's says it itself.
    let signal = section.stop_signal.as_ref();
    if let Some(signal) = signal.filter(|_| request.unit.is_none()) {
        let users = of_user(request);
        let mut others = settings.iter().chain(&users);
        if !others.any(|setting| setting.key == KILL_SIGNAL) {
            settings.insert(0, Setting::service(KILL_SIGNAL, signal));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::pod::testing;

    #[test]
    fn the_stop_signal_is_the_last_word_of_nobody() {
        let signal = "[Service]\nKillSignal=SIGINT\n";
        let user = [Setting::service(KILL_SIGNAL, "SIGHUP")];
        let quit = Setting::service(KILL_SIGNAL, "SIGQUIT");
        let int = Setting::service(KILL_SIGNAL, "SIGINT");
        let other = Setting::service("KillMode", "mixed");
        for (dropin, user, expected) in [
            ("", &[][..], &[quit.clone()][..]),
            ("[Service]\nKillMode=mixed\n", &[], &[quit, other]),
            (signal, &[], &[int]),
            ("", &user, &[]),
        ] {
            let config = serde_json::json!({
                "os": "linux", "architecture": "amd64",
                "rootfs": {"type": "layers", "diff_ids": []}, "config": {"StopSignal": "QUIT"},
            });
            let config =
                crate::image::oci::config::ImageConfig::parse(config.to_string().as_bytes());
            let annotations = BTreeMap::from([(DROPIN.to_string(), dropin.to_string())]);
            let manifest = config
                .unwrap()
                .into_manifest(&annotations, "a", None)
                .unwrap();
            let section = manifest.app.clone().unwrap();
            let request = AppRequest {
                settings: user.to_vec(),
                ..AppRequest::new(testing::image(Path::new("/"), &[], manifest))
            };
            assert_eq!(of_image(&request, &section).unwrap(), expected);
        }
    }

    #[test]
    fn the_image_s_drop_in_counts_unless_there_is_another() {
        let app = serde_json::json!({"exec": ["/bin/web"], "user": "0", "group": "0"});
        let dropin = serde_json::json!([{"name": DROPIN, "value": "[Service]\nNice=3\n"}]);
        let manifest = testing::manifest(&app, &dropin);
        let section = manifest.app.clone().unwrap();
        let mut request = AppRequest::new(testing::image(Path::new("/"), &[], manifest));
        let nice = [Setting::service("Nice", "3")];
        assert_eq!(of_image(&request, &section).unwrap(), nice);
        request.replaces_dropin = true;
        assert_eq!(of_image(&request, &section).unwrap(), []);
    }
}
