//! The `bndlr` program: arguments in, exit code out.

fn main() {}
