//! The plain `aws` CLI against the loopback endpoint.

mod endpoint;
mod schedules;
mod state_machines;

use std::process::Output;

use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
use rsqlflow_local::endpoint::{Endpoint, Serving};

pub(crate) struct Served {
    pub(crate) cloud: LocalCloud,
    pub(crate) serving: Serving,
    dir: tempfile::TempDir,
}

impl Served {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.serving.endpoint()
    }

    /// Runs `aws` with the endpoint's environment.
    pub(crate) async fn aws(&self, arguments: &[&str]) -> Output {
        self.aws_as(&self.endpoint().secret_access_key, arguments).await
    }

    pub(crate) async fn aws_as(&self, secret: &str, arguments: &[&str]) -> Output {
        let endpoint = self.endpoint();
        tokio::process::Command::new("aws")
            .args(arguments)
            .args(["--output", "json"])
            .env("AWS_ENDPOINT_URL", &endpoint.url)
            .env("AWS_REGION", &endpoint.region)
            .env("AWS_DEFAULT_REGION", &endpoint.region)
            .env("AWS_ACCESS_KEY_ID", &endpoint.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_PAGER", "")
            .env_remove("AWS_SESSION_TOKEN")
            .env("HOME", self.dir.path())
            .output()
            .await
            .unwrap()
    }

    /// Runs `aws` and reads its answer.
    pub(crate) async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.aws(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "aws {arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Runs `aws`, which must fail, and gives its error text.
    pub(crate) async fn error(&self, arguments: &[&str]) -> String {
        let output = self.aws(arguments).await;
        assert!(!output.status.success(), "aws {arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A served cloud, or nothing (with the reason printed) where the `aws` CLI is not installed.
pub(crate) async fn served() -> Option<Served> {
    if tokio::process::Command::new("aws").arg("--version").output().await.is_err() {
        println!("skipped: the aws CLI is not installed");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let cloud = LocalCloud::open(&dir.path().join("data"), CloudOptions::default()).await.unwrap();
    let serving = cloud.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    Some(Served { cloud, serving, dir })
}
