//! An RSQL-compatible client
