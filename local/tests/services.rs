//! The services as their users meet them: through the official SDK clients and through the `aws` CLI.

mod sdk;
