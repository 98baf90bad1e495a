//! Which secrets a workflow may use on this host.
//!
//! Items are untrusted, and a secret's id stands in an item. So the host's own settings say which secrets are whose:
//!
//! * `secret_id` of the settings is for every workflow;
//! * `rsqlflow/WORKFLOW`, and what begins with `rsqlflow/WORKFLOW/`, is that workflow's;
//! * `[agent.secrets]` lists more, by workflow;
//! * with the embedded default and nothing listed, every workflow may use every secret.
//!
//! It is judged before a script starts, by the id, and again when credentials are handed out, by the name and the ARN that
//! Secrets Manager gives. A secret's whole ARN ends with six characters of the service's, so the end of an ARN does not
//! say for certain what the secret is called: `rsqlflow/w-AbCdEf` may be `rsqlflow/w`, or the secret of a workflow
//! `w-AbCdEf`. Before the start an id is let through if it may be the right one. The hand-out decides, and compares ARNs
//! with ARNs and names with names. Which accounts and Regions can be reached is the role's to say, not ours.

use std::collections::BTreeMap;

use rsqlflow_config::settings::{Backend, Settings};

/// The beginning of the names of secrets that belong to one workflow.
const OWN_PREFIX: &str = "rsqlflow/";

/// The settings' word on secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRules {
    /// Every workflow may use every secret.
    All,
    /// What is listed.
    Listed {
        /// The secret of the settings, for every workflow; empty for none.
        common: String,
        /// Patterns of secrets by pattern of workflows.
        more: BTreeMap<String, Vec<String>>,
    },
}

impl SecretRules {
    /// As the settings have it.
    pub fn from_settings(settings: &Settings) -> Self {
        if settings.backend == Backend::Local && settings.agent.secrets.is_empty() {
            return Self::All;
        }
        Self::Listed { common: settings.secret_id.clone(), more: settings.agent.secrets.clone() }
    }

    /// Why a workflow may not use a secret, if it may not.
    pub(crate) fn problem(&self, workflow: &str, secret: &str) -> Option<String> {
        let Self::Listed { common, .. } = self else { return None };
        // That of the settings is no pattern.
        let fine = secret.is_empty()
            || same(common, secret)
            || self.patterns(workflow).iter().any(|pattern| covers(pattern, secret));
        (!fine).then(|| refusal(workflow, secret, names(secret).pop().unwrap_or_default()))
    }

    /// Why a workflow may not use the secret that Secrets Manager answered with, if it may not. `id` is what was asked for.
    pub(crate) fn problem_of(&self, workflow: &str, id: &str, name: &str, arn: &str) -> Option<String> {
        let Self::Listed { common, .. } = self else { return None };
        let known = |pattern: &String| matches(pattern, if is_arn(pattern) { arn } else { name });
        let fine = [id, name, arn].contains(&common.as_str()) || self.patterns(workflow).iter().any(known);
        (!fine).then(|| refusal(workflow, name, name))
    }

    /// Patterns of what a workflow may use besides the secret of the settings.
    fn patterns(&self, workflow: &str) -> Vec<String> {
        let Self::Listed { more, .. } = self else { return Vec::new() };
        let listed = more.iter().filter(|(pattern, _)| matches(pattern, workflow));
        let own = [format!("{OWN_PREFIX}{workflow}"), format!("{OWN_PREFIX}{workflow}/*")];
        listed.flat_map(|(_, secrets)| secrets.clone()).chain(own).collect()
    }
}

fn refusal(workflow: &str, secret: &str, name: &str) -> String {
    format!(
        "workflow {workflow} may not use secret {secret} on this host (agent.secrets): call the secret \
         {OWN_PREFIX}{workflow} or {OWN_PREFIX}{workflow}/..., or write into the host's settings, below \
         [agent.secrets]: \"{workflow}\" = [\"{name}\"], and restart its agent"
    )
}

/// Whether two ids may be those of one secret.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one == other
        || names(one).iter().any(|name| names(other).contains(name)) && !(is_arn(one) && is_arn(other))
}

/// A pattern that is an ARN is for ARNs; any other is for names, also those in ARNs.
fn covers(pattern: &str, secret: &str) -> bool {
    if is_arn(pattern) {
        return matches(pattern, secret);
    }
    names(secret).iter().any(|name| matches(pattern, name))
}

fn is_arn(id: &str) -> bool {
    id.starts_with("arn:")
}

/// What the secret may be called: an ARN ends with its name, or with its name, a hyphen and six characters.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen>
fn names(id: &str) -> Vec<&str> {
    /// Length of `-AbCdEf`.
    const SUFFIX: usize = 7;
    let Some(name) = id.strip_prefix("arn:").map(|rest| rest.splitn(6, ':').nth(5).unwrap_or_default())
    else {
        return vec![id];
    };
    let whole =
        name.len().checked_sub(SUFFIX).and_then(|at| name.split_at_checked(at)).filter(|(_, suffix)| {
            suffix.starts_with('-') && suffix[1..].bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    [Some(name), whole.map(|(name, _)| name)].into_iter().flatten().collect()
}

/// Whether a text is the pattern with something, or nothing, in place of each `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    (0..=text.len()).filter_map(|at| text.get(at..)).any(|text| matches(rest, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:";

    fn rules(more: &[(&str, &[&str])]) -> SecretRules {
        let more = more.iter().map(|(workflow, secrets)| {
            (workflow.to_string(), secrets.iter().map(|secret| secret.to_string()).collect())
        });
        SecretRules::Listed { common: "rsqlflow/warehouse".into(), more: more.collect() }
    }

    #[test]
    fn a_workflow_may_use_the_host_s_secret_and_its_own() {
        let rules = rules(&[]);
        let allowed = |secret: &str| rules.problem("nightly", secret).is_none();
        for secret in ["", "rsqlflow/warehouse", "rsqlflow/nightly", "rsqlflow/nightly/a/b"] {
            assert!(allowed(secret), "{secret}");
            for arn in [format!("{ARN}{secret}"), format!("{ARN}{secret}-AbCd3f")] {
                assert!(secret.is_empty() || allowed(&arn), "{arn}");
            }
        }
        for secret in [
            "rsqlflow/other",
            "rsqlflow/nightly-2",
            "rsqlflow/nightlyX/a",
            "nightly/a",
            "*",
            "rsqlflow/warehouse2",
        ] {
            assert!(!allowed(secret), "{secret}");
            assert!(!allowed(&format!("{ARN}{secret}")), "{secret}");
            assert!(!allowed(&format!("{ARN}{secret}-AbCd3f")), "{secret}");
        }
        assert!(!allowed("arn:aws:secretsmanager:rsqlflow/nightly") && !allowed("arn:"));
        assert!(!allowed(&format!("{ARN}rsqlflow/warehouse-AbCd3ff")));
    }

    #[test]
    fn a_name_that_looks_like_the_end_of_an_arn_is_found_out_when_it_is_known() {
        let rules = rules(&[("listed", &[&format!("{ARN}team-a/x-*")])]);
        let asked = format!("{ARN}rsqlflow/nightly-Other1");
        assert_eq!(rules.problem("nightly", &asked), None, "it may be the ARN of rsqlflow/nightly");
        let other = format!("{asked}-AbCd3f");
        assert!(rules.problem_of("nightly", &asked, "rsqlflow/nightly-Other1", &other).is_some());
        assert_eq!(rules.problem_of("nightly", &asked, "rsqlflow/nightly", &asked), None);
        let listed = format!("{ARN}team-a/x-AbCd3f");
        assert_eq!(rules.problem_of("listed", "team-a/x", "team-a/x", &listed), None);
    }

    #[test]
    fn a_workflow_that_is_called_like_the_end_of_an_arn_is_not_given_the_secret_of_another() {
        let rules = rules(&[]);
        let arn = format!("{ARN}rsqlflow/w-AbCdEf");
        assert_eq!(rules.problem("w-AbCdEf", &arn), None, "rsqlflow/w-AbCdEf may be its name");
        let refused = rules.problem_of("w-AbCdEf", &arn, "rsqlflow/w", &arn).unwrap();
        assert!(refused.contains("may not use secret rsqlflow/w on this host"), "{refused}");
        assert_eq!(rules.problem_of("w", &arn, "rsqlflow/w", &arn), None);
        let own = format!("{ARN}rsqlflow/w-AbCdEf-Gh1jkL");
        assert_eq!(rules.problem_of("w-AbCdEf", &own, "rsqlflow/w-AbCdEf", &own), None);
        assert!(rules.problem_of("w", &arn, "rsqlflow/w-AbCdEf", &own).is_some());
    }

    #[test]
    fn the_host_s_secret_is_known_by_name_by_arn_and_by_the_id_that_the_host_has() {
        let whole = format!("{ARN}rsqlflow/warehouse-AbCd3f");
        let part = format!("{ARN}rsqlflow/warehouse");
        for common in ["rsqlflow/warehouse", &whole, &part] {
            let rules = SecretRules::Listed { common: common.into(), more: BTreeMap::new() };
            assert_eq!(rules.problem_of("w", common, "rsqlflow/warehouse", &whole), None, "{common}");
            let other = format!("{whole}-Gh1jkL");
            assert!(rules.problem_of("w", "x", "rsqlflow/warehouse-AbCd3f", &other).is_some(), "{common}");
        }
    }

    #[test]
    fn more_is_listed_by_workflow() {
        let whole = format!("{ARN}exact-AbCd3f");
        let rules = rules(&[("nightly-*", &["team-a/*", "shared"]), ("*", &["for-all"]), ("arn", &[&whole])]);
        let allowed = |workflow: &str, secret: &str| rules.problem(workflow, secret).is_none();
        assert!(allowed("nightly-1", "team-a/x") && allowed("nightly-", "shared"));
        assert!(allowed("nightly-1", &format!("{ARN}team-a/x-AbCd3f")) && allowed("any", "for-all"));
        assert!(!allowed("nightly", "team-a/x") && !allowed("my-nightly-1", "shared"));
        assert!(!allowed("nightly-1", "team-b/x") && !allowed("nightly-1", "my/shared"));
        assert!(allowed("arn", &whole) && !allowed("arn", "exact"), "an ARN is for ARNs");
        assert!(!allowed("arn", &whole.replace("eu-west", "us-west")));
    }

    #[test]
    fn the_refusal_names_workflow_secret_and_setting() {
        let problem = rules(&[]).problem("nightly", &format!("{ARN}team-a/x-AbCd3f")).unwrap();
        insta::assert_snapshot!(problem);
    }

    #[test]
    fn the_embedded_default_lists_nothing_and_allows_all() {
        let load = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("rsqlflow.toml"), text).unwrap();
            SecretRules::from_settings(&Settings::load(None, dir.path(), []).unwrap())
        };
        assert_eq!(load(""), SecretRules::All);
        assert!(load("backend = 'aws'").problem("w", "case14/db").is_some());
        let listed = load("[agent.secrets]\nw = ['case14/db']");
        assert!(listed.problem("w", "case14/db").is_none() && listed.problem("v", "case14/db").is_some());
    }

    #[test]
    fn ids_of_one_secret_are_known_as_such() {
        assert!(same("a", "a") && same("a", &format!("{ARN}a-AbCd3f")) && same(&format!("{ARN}a"), "a"));
        assert!(!same("a", "b") && !same(&format!("{ARN}a-AbCd3f"), &format!("{ARN}a-AbCd3g")));
    }
}
