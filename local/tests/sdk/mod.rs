//! The Rust SDK through the in-process connector.

mod dynamodb;
mod logs;
mod scheduler;
mod secrets;
mod ssm;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use rsqlflow_local::cloud::{CloudOptions, LocalCloud};

pub(crate) struct Fixture {
    pub(crate) cloud: LocalCloud,
    pub(crate) config: SdkConfig,
    _dir: tempfile::TempDir,
}

pub(crate) async fn cloud() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let cloud = LocalCloud::open(&dir.path().join("data"), CloudOptions::default()).await.unwrap();
    let config = config(&cloud).await;
    Fixture { cloud, config, _dir: dir }
}

pub(crate) async fn config(cloud: &LocalCloud) -> SdkConfig {
    let key = cloud.credentials();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(cloud.place().region.clone()))
        .credentials_provider(aws_sdk_dynamodb::config::Credentials::new(
            &key.access_key_id,
            &key.secret_access_key,
            None,
            None,
            "local",
        ))
        .http_client(cloud.connector())
        .load()
        .await
}
