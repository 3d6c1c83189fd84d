//! The `skim` command.

fn main() {}
