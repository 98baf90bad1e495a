//! Where the embedded default pretends to be: one region and one account, from which every ARN is made.

/// The account id of everything local; AWS never issues it, so a local ARN is recognised at sight.
pub const ACCOUNT_ID: &str = "000000000000";

/// The region unless the settings name one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// The region and the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// For instance `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account_id: String,
}

impl Default for Place {
    fn default() -> Self {
        Self::in_region(DEFAULT_REGION)
    }
}

impl Place {
    /// The local account in `region`.
    pub fn in_region(region: impl Into<String>) -> Self {
        Self { region: region.into(), account_id: ACCOUNT_ID.into() }
    }

    /// `arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE`.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account_id)
    }
}
