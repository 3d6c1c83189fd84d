use super::*;
use crate::pod::EnvVar;

fn app() -> AppPlan {
    AppPlan {
        environment: vec![EnvVar {
            name: "A".into(),
            value: "1".into(),
            default: false,
        }],
        image_settings: vec![Setting::service("Type", "notify")],
        ..AppPlan::example("a")
    }
}

fn pod(apps: Vec<AppPlan>) -> PodPlan {
    PodPlan {
        version: 3,
        uuid: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".into(),
        apps,
        volumes: vec![],
        slice_settings: vec![],
        annotations: Default::default(),
        interactive: true,
        scope: Default::default(),
        service: None,
        manifest: serde_json::Value::Null,
    }
}

#[test]
fn what_takes_a_service_is_refused() {
    let isolated = |key: &str| AppPlan {
        isolation_settings: vec![Setting::service(key, "1")],
        ..app()
    };
    let set = |key: &str| AppPlan {
        user_settings: vec![Setting::service(key, "x")],
        ..app()
    };
    let image_root = AppPlan {
        root: Root::Image,
        ..app()
    };
    for (apps, says) in [
        (vec![app()], None),
        (vec![isolated("MemoryMax")], None),
        (vec![isolated("NoNewPrivileges")], None),
        (
            vec![isolated("SystemCallFilter")],
            Some("app a: SystemCallFilter= takes"),
        ),
        (vec![set("Restart")], Some("app a: --restart takes")),
        (vec![set("Type")], Some("app a: --notify takes")),
        (vec![set("Nice")], Some("app a: --property=Nice takes")),
        (vec![image_root], Some("app a: --root=image takes")),
        (
            vec![app(), app()],
            Some("an interactive pod has one app, and this one has 2"),
        ),
        (
            vec![],
            Some("an interactive pod has one app, and this one has 0"),
        ),
    ] {
        let checked = check(&pod(apps)).map_err(|error| format!("{error:#}"));
        match says {
            None => assert_eq!(checked, Ok(())),
            Some(says) => assert!(
                checked.as_ref().unwrap_err().starts_with(says),
                "{checked:?}"
            ),
        }
    }
}

#[test]
fn what_an_app_misses_of_its_image_s_settings_is_counted() {
    let with = |keys: &[&str]| AppPlan {
        image_settings: keys.iter().map(|key| Setting::service(key, "1")).collect(),
        ..app()
    };
    for (keys, count) in [
        (&[][..], 0),
        (&["Type", "Delegate", "KillMode", "KillSignal"], 0),
        (
            &["Restart", "RestartSec", "StartLimitBurst", "TimeoutStopSec"],
            0,
        ),
        (&["LimitNOFILE", "Type", "Environment"], 2),
    ] {
        assert_eq!(left_out(&with(keys)), count, "{keys:?}");
    }
}

#[test]
fn limits_of_the_app_are_the_slice_s() {
    let limited = AppPlan {
        isolation_settings: vec![
            Setting::service("MemoryMax", "4096"),
            Setting::service("OOMScoreAdjust", "5"),
        ],
        ..app()
    };
    let mut plan = pod(vec![limited]);
    plan.slice_settings = vec![Setting::slice("CPUWeight", "9")];
    let files = units::units(&plan, std::path::Path::new("/s")).unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = &files[0].text;
    assert!(
        text.ends_with("[Slice]\nCPUWeight=9\nMemoryMax=4096\n"),
        "{text}"
    );
}

#[test]
fn the_terminal_s_kind_is_the_caller_s() {
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    let environment_of = |term: Option<&str>| environment(&app(), term.map(str::to_string));
    assert_eq!(environment_of(None), [pair("A", "1")]);
    assert_eq!(
        environment_of(Some("vt100")),
        [pair("A", "1"), pair("TERM", "vt100")]
    );
    let mut app = app();
    app.environment[0].name = "TERM".into();
    assert_eq!(environment(&app, Some("vt100".into())), [pair("TERM", "1")]);
}

#[test]
fn the_pod_s_code_is_the_app_s() {
    let exited = Main::Exited;
    for (pre_start, app, post_stop, code) in [
        (Main::Never, exited(0), Main::Never, 0),
        (exited(0), exited(3), exited(0), 3),
        (Main::Never, Main::Killed(2), Main::Never, 130),
        (exited(1), Main::Never, Main::Never, 254),
        (Main::Never, exited(0), exited(5), 254),
        (Main::Never, exited(3), exited(5), 3),
    ] {
        let ends = Ends {
            pre_start,
            app,
            post_stop,
        };
        assert_eq!(ends.code(), code, "{ends:?}");
    }
}
