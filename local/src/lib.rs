//! The AWS API on one machine
