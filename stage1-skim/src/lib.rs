//! The stage1 of skim: what turns a prepared pod into systemd units, holds it, and takes it away.
//!
//! - [`pod`]: the contract with stage0, plain data
//! - [`unit`]: unit text as data
//! - [`escape`]: the one place where values become unit text
//! - [`remove`]: removal of a tree beneath a directory descriptor

pub mod escape;
pub mod pod;
pub mod remove;
pub mod unit;
