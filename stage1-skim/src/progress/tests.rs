use super::ended::CLD_EXITED;
use super::*;
use crate::bus::ServiceEnd;

fn service(active: &str, result: &str, main_code: i32, main_status: i32) -> ServiceState {
    ServiceState {
        active: active.into(),
        has_job: false,
        end: Some(ServiceEnd {
            result: result.into(),
            was_started: true,
            code: main_code,
            status: main_status,
        }),
    }
}

fn pod(services: &[&str]) -> Progress {
    let watched = services.iter().map(|service| Watched {
        service: service.to_string(),
        sockets: vec![],
    });
    Progress::new(watched)
}

fn two() -> Progress {
    pod(&["a", "b"])
}

#[test]
fn clean_exits_leave_the_others_running() {
    let mut pod = two();
    pod.job_removed("a", "done");
    pod.observe("a", &service("active", "success", 0, 0));
    pod.job_removed("b", "done");
    pod.observe("b", &service("active", "success", 0, 0));
    pod.observe("a", &service("inactive", "success", CLD_EXITED, 0));
    assert!(pod.is_ready() && !pod.all_ended());
    pod.observe("b", &service("inactive", "success", 2, 15));
    assert!(pod.all_ended());
    assert_eq!(pod.code(), 0);
    assert_eq!(pod.codes().collect::<Vec<_>>(), [("a", 0), ("b", 143)]);
}

#[test]
fn what_was_stopped_before_it_was_up_is_not_ready() {
    let mut pod = pod(&["a"]);
    pod.job_removed("a", "canceled");
    assert!(!pod.is_ready());
    pod.observe("a", &service("deactivating", "success", 0, 0));
    assert!(!pod.is_ready() && !pod.all_ended());
    pod.observe("a", &service("inactive", "success", 2, 15));
    assert!(!pod.is_ready() && pod.all_ended() && !pod.has_failed());
}

#[test]
fn the_first_failure_gives_the_code() {
    let mut pod = two();
    pod.job_removed("a", "done");
    pod.job_removed("b", "done");
    pod.observe("b", &service("failed", "exit-code", CLD_EXITED, 5));
    pod.observe("a", &service("failed", "signal", 2, 9));
    assert_eq!(pod.code(), 5);
    assert_eq!(pod.first_failure().unwrap().0, "b");
}

#[test]
fn what_could_not_start_is_not_the_cause() {
    let mut pod = two();
    pod.job_removed("b", "dependency");
    pod.job_removed("a", "failed");
    pod.observe("a", &service("failed", "exit-code", CLD_EXITED, 203));
    assert!(pod.all_ended());
    assert_eq!(pod.code(), 203);
    assert!(pod.has_failed() && !pod.is_ready());
    assert_eq!(pod.codes().collect::<Vec<_>>(), [("a", 203)]);
}

#[test]
fn a_failure_without_a_code_is_still_one() {
    let mut pod = pod(&["a"]);
    pod.job_removed("a", "failed");
    pod.observe("a", &service("failed", "protocol", CLD_EXITED, 0));
    assert_eq!(pod.code(), EXIT_ERROR);
}

#[test]
fn restarts_are_not_the_end() {
    let mut pod = pod(&["a"]);
    pod.job_removed("a", "done");
    pod.observe("a", &service("activating", "signal", 2, 9));
    assert!(!pod.all_ended() && !pod.is_ready() && !pod.has_failed());
    let mut queued = service("inactive", "success", CLD_EXITED, 0);
    queued.has_job = true;
    pod.observe("a", &queued);
    assert!(!pod.all_ended());
    pod.observe("a", &service("inactive", "success", CLD_EXITED, 0));
    assert!(pod.all_ended());
    pod.observe("a", &service("active", "success", 0, 0));
    assert!(!pod.all_ended());
}

#[test]
fn what_a_job_s_result_means() {
    for (result, failed) in [
        ("canceled", false),
        ("skipped", false),
        ("dependency", true),
        ("timeout", true),
        ("assert", true),
        ("invalid", true),
        ("unsupported", true),
    ] {
        let mut pod = pod(&["a"]);
        pod.job_removed("a", result);
        assert!(pod.all_ended(), "{result}");
        assert_eq!(pod.has_failed(), failed, "{result}");
        assert_eq!(pod.code(), if failed { EXIT_ERROR } else { 0 }, "{result}");
    }
}

#[test]
fn an_app_that_vanished_has_failed() {
    let mut pod = pod(&["a"]);
    pod.job_removed("a", "done");
    pod.observe("a", &service("active", "success", 0, 0));
    let mut gone = service("inactive", "success", 0, 0);
    gone.end = Some(ServiceEnd::default());
    pod.observe("a", &gone);
    assert!(pod.all_ended());
    assert_eq!(pod.code(), EXIT_ERROR);
}

#[test]
fn inactive_before_the_start_job_is_not_the_end() {
    let mut pod = pod(&["a"]);
    pod.observe("a", &service("inactive", "success", 0, 0));
    assert!(!pod.all_ended() && !pod.is_ready());
    assert!(pod.is_waiting("a"));
}

/// An app that connections to two sockets start, and which listens.
fn listening() -> Progress {
    let watched = Watched {
        service: "a".to_string(),
        sockets: vec!["x".to_string(), "y".to_string()],
    };
    let mut pod = Progress::new([watched]);
    assert!(pod.is_waiting("x") && !pod.is_ready());
    pod.observe_socket("x", "inactive");
    pod.job_removed("x", "done");
    pod.observe_socket("x", "active");
    assert!(!pod.is_ready() && pod.is_waiting("y") && !pod.is_waiting("x"));
    pod.observe_socket("y", "active");
    pod
}

fn state(pod: &Progress) -> &AppState {
    pod.states().next().unwrap().1
}

#[test]
fn an_app_that_listens_is_ready_and_goes_on() {
    let mut pod = listening();
    assert!(pod.is_ready() && !pod.all_ended());
    let mut queued = service("inactive", "success", 0, 0);
    queued.has_job = true;
    for _ in 0..2 {
        pod.observe("a", &queued);
        assert_eq!(state(&pod), &AppState::Listening);
        pod.observe("a", &service("activating", "success", 0, 0));
        assert_eq!(state(&pod), &AppState::Starting);
        pod.job_removed("a", "done");
        pod.observe("a", &service("active", "success", 0, 0));
        assert_eq!(state(&pod), &AppState::Up);
        pod.observe("a", &service("inactive", "success", CLD_EXITED, 0));
        assert_eq!(state(&pod), &AppState::Listening);
    }
    assert!(!pod.all_ended() && pod.codes().count() == 0);
    for socket in ["x", "y"] {
        assert!(!pod.all_ended());
        pod.observe_socket(socket, "inactive");
    }
    assert!(pod.all_ended() && !pod.has_failed());
    assert_eq!(pod.codes().collect::<Vec<_>>(), [("a", 0)]);
}

#[test]
fn what_was_stopped_while_it_listened_never_ran() {
    let mut pod = listening();
    pod.observe_socket("x", "inactive");
    pod.observe_socket("y", "inactive");
    let mut never = service("inactive", "success", 0, 0);
    never.end = Some(ServiceEnd::default());
    pod.observe("a", &never);
    assert!(pod.all_ended() && !pod.has_failed());
    assert_eq!((pod.code(), pod.codes().count()), (0, 0));
}

#[test]
fn what_was_stopped_while_it_started_ends_with_its_sockets() {
    let mut pod = listening();
    pod.observe("a", &service("activating", "success", 0, 0));
    pod.job_removed("a", "canceled");
    pod.observe_socket("x", "inactive");
    pod.observe_socket("y", "inactive");
    assert!(!pod.all_ended());
    pod.observe("a", &service("inactive", "success", 2, 15));
    assert!(pod.all_ended() && !pod.has_failed());
}

#[test]
fn a_socket_that_is_never_opened_ends_the_app() {
    for (result, failed) in [("canceled", false), ("dependency", true), ("timeout", true)] {
        let watched = Watched {
            service: "a".to_string(),
            sockets: vec!["x".to_string()],
        };
        let mut pod = Progress::new([watched]);
        pod.job_removed("x", result);
        assert!(pod.all_ended(), "{result}");
        assert_eq!(pod.has_failed(), failed, "{result}");
    }
}

#[test]
fn a_socket_that_fails_fails_the_pod() {
    let mut pod = listening();
    pod.observe("a", &service("active", "success", 0, 0));
    pod.observe("a", &service("inactive", "success", CLD_EXITED, 0));
    pod.observe_socket("x", "failed");
    assert!(pod.has_failed() && !pod.all_ended() && pod.code() == EXIT_ERROR);
    pod.observe_socket("y", "inactive");
    assert!(pod.all_ended());
    assert_eq!(pod.first_failure().unwrap().1.result, SOCKET_FAILED);
}

#[test]
fn the_failure_of_the_app_is_told_not_that_of_its_socket() {
    let mut pod = listening();
    pod.observe("a", &service("failed", "exit-code", CLD_EXITED, 3));
    pod.observe_socket("x", "failed");
    pod.observe_socket("y", "inactive");
    assert!(pod.has_failed() && pod.all_ended() && pod.code() == 3);
    assert_eq!(pod.first_failure().unwrap().1.result, "exit-code");
}

#[test]
fn a_failure_counts_also_where_a_connection_waits() {
    let mut pod = listening();
    let mut again = service("failed", "success", 0, 0);
    again.has_job = true;
    pod.observe("a", &again);
    assert!(!pod.has_failed());
    again = service("failed", "start-limit-hit", CLD_EXITED, 4);
    again.has_job = true;
    pod.observe("a", &again);
    assert!(pod.has_failed() && pod.code() == 4);
}

#[test]
fn an_app_whose_start_job_fails_has_failed() {
    let mut pod = listening();
    pod.job_removed("a", "dependency");
    assert!(pod.has_failed());
}
