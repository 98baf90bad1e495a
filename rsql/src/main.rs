//! rsql
fn main() {}
