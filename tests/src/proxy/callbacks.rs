//! The book of callbacks: which the service accepted, and every task token that was seen.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderMap;
use serde_json::Value;

/// What was asked and what was accepted.
#[derive(Debug, Clone, Default)]
pub struct Book {
    accepted: Vec<Callback>,
    tokens: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Callback {
    token: String,
    job: String,
    error: Option<String>,
}

/// The action that a request asks for, without its service's version: `SendTaskSuccess`.
pub(super) fn action(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

impl Book {
    pub(super) fn asked(&mut self, action: &str, body: &[u8]) {
        if action.starts_with("SendTask") {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            self.tokens.extend(body["taskToken"].as_str().map(str::to_owned));
        }
    }

    pub(super) fn accepted(&mut self, action: &str, body: &[u8]) {
        let report = match action {
            "SendTaskSuccess" => "output",
            "SendTaskFailure" => "cause",
            _ => return,
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let said: Value = text(report).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        self.accepted.push(Callback {
            token: text("taskToken").unwrap_or_default(),
            job: said["job_name"].as_str().unwrap_or("(no job named)").to_owned(),
            error: text("error"),
        });
    }

    /// How many callbacks were accepted of each job, whatever its run.
    pub fn accepted_by_job(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for callback in &self.accepted {
            *counts.entry(callback.job.clone()).or_default() += 1;
        }
        counts
    }

    /// The error codes that were accepted, of a job.
    pub fn errors(&self, job: &str) -> Vec<String> {
        self.accepted.iter().filter(|one| one.job == job).filter_map(|one| one.error.clone()).collect()
    }

    /// Whether a token was accepted more than once, which no service should do.
    pub fn any_token_twice(&self) -> bool {
        let tokens: BTreeSet<&str> = self.accepted.iter().map(|one| one.token.as_str()).collect();
        tokens.len() < self.accepted.len()
    }

    /// Every task token that was seen: secrets, to be looked for where they must not be.
    pub fn tokens(&self) -> &BTreeSet<String> {
        &self.tokens
    }
}
