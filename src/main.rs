//! The program's door: hand over to the command line, leave with its exit code.

fn main() {}
