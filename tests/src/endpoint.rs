//! The endpoint of an `rsqlflow up`, or of a server that others wrote, for those who speak to it directly.

use std::path::Path;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudwatchlogs::config::{Credentials, SharedCredentialsProvider};
use serde::Deserialize;

/// Where it is and with which key.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    /// For instance `http://127.0.0.1:4566`.
    pub url: String,
    /// The region.
    pub region: String,
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

impl Endpoint {
    /// That of the `rsqlflow up` that runs on the data directory.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(data_dir: &Path) -> Self {
        let text = std::fs::read_to_string(data_dir.join("endpoint.json")).expect("rsqlflow up runs");
        serde_json::from_str(&text).expect("an announcement")
    }

    /// The same service at another address, for instance that of a proxy.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.into(), ..self.clone() }
    }

    /// What tells programs about it.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_REGION", &self.region),
            ("AWS_ACCESS_KEY_ID", &self.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key),
        ]
    }

    /// Every event of a log stream, in its order; `None` where there is no such stream.
    ///
    /// # Panics
    /// When the service fails.
    pub fn log_stream(&self, name: &str) -> Option<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.read_log_stream(name))
    }

    async fn read_log_stream(&self, name: &str) -> Option<Vec<String>> {
        let client = aws_sdk_cloudwatchlogs::Client::new(&self.config());
        let (mut lines, mut token) = (Vec::new(), None);
        loop {
            let asked = client
                .get_log_events()
                .log_group_name("/ops/rsql-logs")
                .log_stream_name(name)
                .start_from_head(true)
                .set_next_token(token.clone());
            let page = match asked.send().await {
                Ok(page) => page,
                Err(error) => {
                    let missing =
                        error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception());
                    assert!(missing, "log stream {name}: {error:?}");
                    return None;
                }
            };
            lines.extend(page.events.into_iter().flatten().map(|event| event.message.unwrap_or_default()));
            // The same token again says that there is no more.
            if page.next_forward_token == token {
                return Some(lines);
            }
            token = page.next_forward_token;
        }
    }

    /// What SDK clients of it are made of.
    pub fn config(&self) -> SdkConfig {
        let key = Credentials::new(&self.access_key_id, &self.secret_access_key, None, None, "tests");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(key))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.url)
            .build()
    }
}
