//! The services as their users meet them: through the official SDK clients and through the `aws` CLI.

// `cfg(test)` tells clippy that helper functions are test code, too.
#[cfg(test)]
mod cli;
#[cfg(test)]
mod door;
#[cfg(test)]
mod sdk;
