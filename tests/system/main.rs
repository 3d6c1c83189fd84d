//! The system tests: skim on a real systemd.
//!
//! They change the host they run on, so they run only in the disposable machine that `tests/run`
//! boots: PID 1 must be systemd and the variable `SKIM_TEST_MACHINE` set. They compare the state of
//! the whole host before and after, so they run one at a time (`--test-threads=1`).
//!
//! In the machine are: skim, stage1-skim and the wrapper `docker` in /usr/local/bin, the images of
//! containerd and docker in /opt/images, small programs to make images of in /opt/programs.

mod apps;
mod arguments;
mod cli;
mod concurrency;
mod crash;
mod daemons;
mod docker;
mod gc;
mod harness;
mod isolation;
mod lifecycle;
mod refusals;
mod relocation;
mod starting;
mod support;
mod units;
