//! rsqlflow-agent
fn main() {}
