//! Which services there are.
//!
//! The connector and the endpoint find a service by the prefix of `x-amz-target`, the States Language integrations
//! by its SDK name. A handle is cheap to clone and sees services registered later, so Step Functions can be given
//! the registry it will itself be part of.

use std::sync::{Arc, PoisonError, RwLock};

use crate::service::Service;

/// A handle to the registered services.
#[derive(Clone, Default)]
pub struct Services {
    all: Arc<RwLock<Vec<Arc<dyn Service>>>>,
}

impl Services {
    /// Adds a service, or replaces the one with the same target prefix.
    pub fn register(&self, service: Arc<dyn Service>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.target_prefix() != service.target_prefix());
        all.push(service);
    }

    /// The service behind `x-amz-target: PREFIX.Action`.
    pub fn by_target_prefix(&self, prefix: &str) -> Option<Arc<dyn Service>> {
        self.find(|service| service.target_prefix() == prefix)
    }

    /// The service behind `arn:aws:states:::aws-sdk:NAME:action`.
    pub fn by_sdk_name(&self, name: &str) -> Option<Arc<dyn Service>> {
        self.find(|service| service.sdk_name() == name)
    }

    fn find(&self, wanted: impl Fn(&dyn Service) -> bool) -> Option<Arc<dyn Service>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|service| wanted(service.as_ref())).cloned()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(all.iter().map(|service| service.sdk_name())).finish()
    }
}
