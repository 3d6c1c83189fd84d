use serde_json::json;

use super::*;

fn isolator(name: &str, value: Value) -> Isolator {
    Isolator {
        name: name.to_string(),
        value,
    }
}

fn app(isolators: &[(&str, Value)]) -> Result<Isolation> {
    let isolators: Vec<_> = isolators
        .iter()
        .map(|(name, value)| isolator(name, value.clone()))
        .collect();
    of_app(&isolators)
}

fn lines(settings: &[Setting]) -> Vec<String> {
    let lines = settings.iter();
    lines
        .map(|setting| format!("[{}]{}={}", setting.section, setting.key, setting.value))
        .collect()
}

#[test]
fn isolators_become_settings() {
    for (name, value, expected) in [
        (
            MEMORY,
            json!({"limit": "1G", "request": "1M"}),
            "MemoryMax=1000000000",
        ),
        (
            MEMORY,
            json!({"limit": "1Gi", "default": false}),
            "MemoryMax=1073741824",
        ),
        (MEMORY, json!({"limit": 4096}), "MemoryMax=4096"),
        (MEMORY, json!({"Limit": "4096000m"}), "MemoryMax=4096"),
        (CPU, json!({"limit": "500m"}), "CPUQuota=50%"),
        (CPU, json!({"limit": "125m"}), "CPUQuota=12.5%"),
        (CPU, json!({"limit": "2"}), "CPUQuota=200%"),
        (CPU, json!({"limit": "0.01"}), "CPUQuota=1%"),
        (CPU_SHARES, json!(2), "CPUWeight=1"),
        (CPU_SHARES, json!(1024), "CPUWeight=100"),
        (CPU_SHARES, json!(512), "CPUWeight=50"),
        (CPU_SHARES, json!(262_144), "CPUWeight=10000"),
        (OOM_SCORE_ADJ, json!(-1000), "OOMScoreAdjust=-1000"),
        (OOM_SCORE_ADJ, json!(1000), "OOMScoreAdjust=1000"),
        (NO_NEW_PRIVILEGES, json!(true), "NoNewPrivileges=yes"),
        (
            SECCOMP_REMOVE,
            json!({"set": ["reboot"]}),
            "SystemCallFilter=~reboot",
        ),
    ] {
        let isolation = app(&[(name, value.clone())]).unwrap();
        assert_eq!(
            lines(&isolation.settings),
            [format!("[Service]{expected}")],
            "{name} {value}"
        );
    }
}

#[test]
fn some_come_to_nothing() {
    for (name, value) in [
        (MEMORY, json!({"request": "1G"})),
        (NO_NEW_PRIVILEGES, json!(false)),
        (
            "resource/block-bandwidth",
            json!({"default": true, "limit": "2M"}),
        ),
        (
            "resource/block-iops",
            json!({"default": true, "limit": "1000"}),
        ),
        (
            "resource/network-bandwidth",
            json!({"default": true, "limit": "1G"}),
        ),
        ("os/linux/selinux-context", json!({"user": "u"})),
    ] {
        let isolation = app(&[(name, value)]).unwrap();
        assert_eq!(isolation, Isolation::default(), "{name}");
    }
}

#[test]
fn capabilities_stand_apart() {
    let set = json!({"set": ["CAP_CHOWN", "net_raw"]});
    let names = vec!["CAP_CHOWN".to_string(), "CAP_NET_RAW".into()];
    for (name, expected) in [
        (CAPS_RETAIN, Capabilities::Retain(names.clone())),
        (CAPS_REMOVE, Capabilities::Remove(names)),
    ] {
        let isolation = app(&[(name, set.clone())]).unwrap();
        assert_eq!(isolation.capabilities, Some(expected));
        assert_eq!(isolation.settings, []);
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (name, value, message) in [
        (
            MEMORY,
            json!({"limit": "16m"}),
            "memory limit of 1 bytes too low (at least 4096; m means milli",
        ),
        (
            MEMORY,
            json!({"limit": "4095"}),
            "memory limit of 4095 bytes too low",
        ),
        (MEMORY, json!({"limit": "8Ei"}), "too large"),
        (
            MEMORY,
            json!({"limit": "-1"}),
            "value.limit: the quantity `-1` is negative",
        ),
        (MEMORY, json!({"limit": 0.5}), "value.limit: not a string"),
        (
            MEMORY,
            json!({"limit": "1G", "default": true}),
            "value.default: must be false",
        ),
        (
            MEMORY,
            json!({"limit": "1G", "request": "x"}),
            "value.request",
        ),
        (MEMORY, json!("1G"), "value: not an object"),
        (CPU, json!({"limit": "9m"}), "too low (at least 10m"),
        (CPU, json!({"limit": "0"}), "too low"),
        (CPU, json!({"limit": "1M"}), "too large"),
        (
            CPU,
            json!({"limit": "1", "default": true}),
            "value.default: must be false",
        ),
        (CPU_SHARES, json!(1), "no integer from 2 to 262144"),
        (CPU_SHARES, json!(262_145), "no integer from 2 to 262144"),
        (CPU_SHARES, json!("1024"), "no integer from 2 to 262144"),
        (OOM_SCORE_ADJ, json!(-1001), "no integer from -1000 to 1000"),
        (OOM_SCORE_ADJ, json!(1001), "no integer from -1000 to 1000"),
        (OOM_SCORE_ADJ, json!(0.5), "no integer from -1000 to 1000"),
        (NO_NEW_PRIVILEGES, json!("yes"), "neither true nor false"),
        (CAPS_RETAIN, json!({"set": []}), "missing or empty"),
        (SECCOMP_RETAIN, json!({"set": []}), "missing or empty"),
        ("os/unix/sysctl", json!({}), "it would change the host"),
        ("example.com/own", json!({}), "invalid isolator"),
        ("resource/memoryy", json!({}), "invalid isolator"),
    ] {
        let error = format!("{:#}", app(&[(name, value.clone())]).unwrap_err());
        assert!(error.starts_with(&format!("isolator {name}: ")), "{error}");
        assert!(error.contains(message), "{name} {value}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn isolators_contradict_each_other() {
    let caps = json!({"set": ["CAP_CHOWN"]});
    let calls = json!({"set": ["reboot"]});
    for (isolators, message) in [
        (
            [(CAPS_RETAIN, caps.clone()), (CAPS_REMOVE, caps.clone())],
            "exclude each other",
        ),
        (
            [(SECCOMP_REMOVE, calls.clone()), (SECCOMP_RETAIN, calls)],
            "exclude each other",
        ),
        (
            [(CAPS_RETAIN, caps.clone()), (CAPS_RETAIN, caps)],
            "is given twice",
        ),
    ] {
        let error = format!("{:#}", app(&isolators).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_flag_replaces_what_it_excludes() {
    let named = |name: &str| isolator(name, Value::Null);
    for (new, old, expected) in [
        (MEMORY, MEMORY, true),
        (MEMORY, CPU, false),
        (CAPS_RETAIN, CAPS_REMOVE, true),
        (CAPS_REMOVE, CAPS_RETAIN, true),
        (SECCOMP_RETAIN, SECCOMP_REMOVE, true),
        (SECCOMP_RETAIN, CAPS_REMOVE, false),
    ] {
        assert_eq!(replaces(&named(new), &named(old)), expected, "{new} {old}");
    }
}

#[test]
fn a_pods_are_its_slices() {
    let of = |name: &str, value: Value| of_pod(&[isolator(name, value)]);
    for (name, value, expected) in [
        (
            MEMORY,
            json!({"limit": "1G"}),
            "[Slice]MemoryMax=1000000000",
        ),
        (CPU, json!({"limit": "1"}), "[Slice]CPUQuota=100%"),
        (CPU_SHARES, json!(1024), "[Slice]CPUWeight=100"),
    ] {
        assert_eq!(lines(&of(name, value).unwrap()), [expected]);
    }
    for (name, value, message) in [
        (OOM_SCORE_ADJ, json!(1), "give it to each app"),
        (NO_NEW_PRIVILEGES, json!(true), "give it to each app"),
        (
            CAPS_RETAIN,
            json!({"set": ["CAP_CHOWN"]}),
            "give it to each app",
        ),
        (
            SECCOMP_REMOVE,
            json!({"set": ["reboot"]}),
            "give it to each app",
        ),
        ("example.com/own", json!({}), "invalid isolator"),
    ] {
        let error = format!("{:#}", of(name, value).unwrap_err());
        assert!(error.contains(name) && error.contains(message), "{error}");
    }
    let ignored = of(
        "resource/block-iops",
        json!({"default": true, "limit": "1"}),
    );
    assert_eq!(ignored.unwrap(), []);
}

#[test]
fn flags_are_isolators() {
    for (isolator, expected) in [
        (flags::memory("1Mi"), "MemoryMax=1048576"),
        (flags::cpu("1.5"), "CPUQuota=150%"),
        (flags::cpu_shares("1024"), "CPUWeight=100"),
        (flags::oom_score_adj("-5"), "OOMScoreAdjust=-5"),
        (Ok(flags::no_new_privileges(true)), "NoNewPrivileges=yes"),
        (
            flags::seccomp("mode=remove,reboot,@systemd/clock"),
            "SystemCallFilter=~reboot @clock",
        ),
        (flags::seccomp("read,mode=retain"), "SystemCallFilter=read"),
    ] {
        let settings = of_app(&[isolator.unwrap()]).unwrap().settings;
        assert_eq!(lines(&settings), [format!("[Service]{expected}")]);
    }
    let errno = flags::seccomp("errno=EPERM,mode=remove,reboot").unwrap();
    let settings = of_app(&[errno]).unwrap().settings;
    assert_eq!(
        settings[1],
        Setting::service("SystemCallErrorNumber", "EPERM")
    );
    let names = vec!["CAP_CHOWN".to_string(), "CAP_KILL".into()];
    for (isolator, expected) in [
        (
            flags::caps_retain("chown,cap_kill"),
            Capabilities::Retain(names.clone()),
        ),
        (
            flags::caps_remove("CAP_CHOWN,KILL,"),
            Capabilities::Remove(names),
        ),
    ] {
        let isolation = of_app(&[isolator.unwrap()]).unwrap();
        assert_eq!(isolation.capabilities, Some(expected));
    }
}

#[test]
fn flags_are_checked_at_once() {
    for (isolator, message) in [
        (flags::memory("16m"), "memory limit of 1 bytes too low"),
        (flags::memory("lots"), "`lots` is no quantity"),
        (flags::cpu("1m"), "too low"),
        (flags::cpu_shares("1"), "no integer from 2"),
        (flags::cpu_shares("many"), "`many` is no integer"),
        (flags::oom_score_adj("1001"), "no integer from -1000"),
        (flags::caps_retain(""), "missing or empty"),
        (flags::caps_remove("CAP_ALL"), "`CAP_ALL` is no capability"),
        (
            flags::seccomp("reboot"),
            "neither mode=retain nor mode=remove",
        ),
        (flags::seccomp("mode=kill,reboot"), "mode=kill"),
        (
            flags::seccomp("mode=retain,mode=remove,reboot"),
            "given twice",
        ),
        (
            flags::seccomp("mode=retain,arch=x,reboot"),
            "`arch=x` is neither",
        ),
        (flags::seccomp("mode=retain"), "missing or empty"),
        (
            flags::seccomp("mode=retain,errno=E,read"),
            "`E` is no error",
        ),
    ] {
        let error = format!("{:#}", isolator.unwrap_err());
        assert!(error.contains(message), "{message}: {error}");
    }
}
