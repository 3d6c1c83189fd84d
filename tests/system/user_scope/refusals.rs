//! What a user may not do, and what of others the user does not see.

use super::{NAME, UID, service, sleeper, user};
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::user::User;

#[test]
fn what_takes_root_is_refused_by_name() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "asks");
    for (args, says) in [
        (
            &["run", &image, "--user=33"][..],
            "--user=33 cannot be used",
        ),
        (&["run", &image, "--root=image"], "--root=image takes root"),
        (
            &["run", &image, "--caps-retain=CAP_KILL"],
            "capabilities-retain-set takes root",
        ),
        (
            &["run", &image, "--property=AmbientCapabilities=CAP_KILL"],
            "AmbientCapabilities",
        ),
        (&["run", "--user", &image], "before the verb"),
        (&["list", "--user"], "before the verb"),
        (&["export", "x", "y.aci"], "skim --user cannot export"),
    ] {
        let refused = user.skim(args);
        assert_eq!(refused.code, Some(254), "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{args:?}: {refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    }
    let plain = user.run("skim", &["run", &image]);
    assert_eq!(plain.code, Some(254));
    assert!(plain.stderr.contains("skim --user run"), "{plain:?}");
    let root = run("skim", ["--user", "list"]);
    assert_eq!(root.code, Some(254));
    assert!(
        root.stderr.contains("--user is for users other than root"),
        "{root:?}"
    );
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn without_a_user_manager_it_is_said_what_to_do() {
    let host = Host::new();
    let user = User::without_manager(&host, NAME, UID, NAME);
    let image = sleeper(&host, "nowhere");
    let refused = user.skim(&["run", &image]);
    assert_eq!(refused.code, Some(254));
    assert!(refused.stderr.contains("enable-linger"), "{refused:?}");
    assert!(!user.state().join("pods").exists());
}

#[test]
fn two_users_and_root_do_not_see_each_other() {
    let host = Host::new();
    let (one, two) = (user(&host), User::new(&host, "other", UID + 1, "other"));
    let image = sleeper(&host, "own");
    let of_root = run("skim", ["run", "--detach", &image]).line();
    let of_one = one.skim(&["run", "--detach", &image]).line();
    let of_two = two.skim(&["run", "--detach", &image]).line();
    for (user, own) in [(&one, &of_one), (&two, &of_two)] {
        assert_eq!(&user.skim(&["list", "--quiet"]).line(), own);
        for foreign in [&of_root, &of_one, &of_two]
            .into_iter()
            .filter(|uuid| *uuid != own)
        {
            for verb in ["stop", "rm", "enter", "status"] {
                assert_eq!(user.skim(&[verb, foreign]).code, Some(254), "{verb}");
            }
        }
        user.skim(&["gc"]).success();
    }
    assert_eq!(run("skim", ["list", "--quiet"]).line(), of_root);
    // A user with another's directories in the environment is told so.
    let foreign = one.run(
        "env",
        &[
            "XDG_RUNTIME_DIR=/run/user/4322",
            "skim",
            "--user",
            "stop",
            &of_one,
        ],
    );
    assert_eq!(foreign.code, Some(254));
    assert!(foreign.stderr.contains("XDG_RUNTIME_DIR"), "{foreign:?}");
    let running = |user: &User, uuid: &str| {
        let state = user.systemctl(&["is-active", &service(uuid, "own")]).stdout;
        state.trim_end() == "active"
    };
    assert!(running(&one, &of_one) && running(&two, &of_two));
    one.skim(&["stop", &of_one]).success();
    assert!(running(&two, &of_two));
    run("skim", ["stop", &of_root]).success();
    run("skim", ["gc"]).success();
    assert!(running(&two, &of_two));
    two.skim(&["stop", &of_two]).success();
    for user in [&one, &two] {
        user.skim(&["gc"]).success();
        assert_eq!(user.traces(), Vec::<String>::new());
    }
}
