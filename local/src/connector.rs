//! The door for SDK clients in the same process: an HTTP client that never opens a socket.
//!
//! The official SDK builds, signs and serialises its request as ever; this connector takes it where the socket would
//! be and answers from the services. Signatures are not checked: whoever holds the connector is this process.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use crate::protocol::{self, WireRequest};
use crate::registry::Services;

/// Give it to `aws_config::defaults(..).http_client(..)`.
#[derive(Debug, Clone)]
pub struct LocalConnector {
    services: Services,
}

impl LocalConnector {
    /// A connector to the registered services, those registered later included.
    pub fn new(services: Services) -> Self {
        Self { services }
    }
}

impl HttpConnector for LocalConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let services = self.services.clone();
        HttpConnectorFuture::new(async move {
            let body = request.body().bytes().ok_or_else(|| {
                ConnectorError::user("the embedded default takes no streamed request bodies".into())
            })?;
            // An SDK gives the whole address; where it leads is known.
            let uri = request.uri();
            let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
            let target = after_scheme.find(['/', '?']).map_or("/", |at| &after_scheme[at..]);
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let answer = protocol::answer(
                &services,
                WireRequest {
                    method: request.method(),
                    path,
                    query,
                    invocation_type: request.headers().get("x-amz-invocation-type"),
                    target: request.headers().get("x-amz-target"),
                    content_type: request.headers().get("content-type"),
                    body,
                },
            )
            .await;
            let status = StatusCode::try_from(answer.status)
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
            for (name, value) in answer.headers {
                response
                    .headers_mut()
                    .try_insert(name, value)
                    .map_err(|error| ConnectorError::other(error.into(), None))?;
            }
            Ok(response)
        })
    }
}

impl HttpClient for LocalConnector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
