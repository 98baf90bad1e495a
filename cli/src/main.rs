//! rsqlflow
fn main() {}
