//! From a config item to a run
