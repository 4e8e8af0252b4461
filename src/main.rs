//! The `sorft` program.

fn main() {}
