//! The system tests: skim on a real systemd.
//!
//! They change the host they run on, so they run only in the disposable machine that `tests/run`
//! boots: PID 1 must be systemd and the variable `SKIM_TEST_MACHINE` set. They compare the state of
//! the whole host before and after, so they run one at a time (`--test-threads=1`).
//!
//! In the machine are: skim, stage1-skim and the wrapper `docker` in /usr/local/bin; in /opt/images
//! the images of containerd and docker, of ten services, and one app as umoci, skopeo, podman and
//! actool write it; small programs to make images of in /opt/programs; servers in /opt/servers.

mod apps;
mod arguments;
mod chroot;
mod cli;
mod concurrency;
mod crash;
mod daemons;
mod diagnosis;
mod docker;
mod examples;
mod export;
mod gc;
mod harness;
mod hostile;
mod image_units;
mod interactive;
mod isolation;
mod killing;
mod lifecycle;
mod limits;
mod memory;
mod packages;
mod pod_files;
mod prepare;
mod progress;
mod reexec;
mod refusals;
mod registry;
mod relocation;
mod resume;
mod rkt_errors;
mod rkt_images;
mod rkt_pods;
mod rkt_run;
mod rkt_services;
mod sandbox;
mod services;
mod signatures;
mod sources;
mod starting;
mod store;
mod support;
mod units;
mod updates;
mod user_scope;
mod verbs;
mod volumes;
