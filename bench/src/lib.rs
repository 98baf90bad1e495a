//! Benchmarks beside the physical limit
