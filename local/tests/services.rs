//! The services as their users meet them: through the official SDK clients and through the `aws` CLI.

// `cfg(test)` tells clippy that helper functions are test code, too.
#[cfg(test)]
mod cli;
#[cfg(test)]
mod door;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod warehouse;

/// Waits until `check` gives something, at most thirty seconds.
#[cfg(test)]
async fn eventually<T, F: Future<Output = Option<T>>>(mut check: impl FnMut() -> F) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap()
}
