//! Conformance: what we use of AWS, asked of every endpoint, and the page that shows the answers.
//!
//! A probe expects what AWS documents. Each is asked of the embedded default, and of both peers with and without the
//! patches of `tests/peers/`. The page, `docs/conformance.md`, is what came of that; this test fails where they differ,
//! and `RSQLFLOW_UPDATE=1` writes it anew. The embedded default has to do everything as documented, but for what it does not
//! have ([`NOT_EMBEDDED`]); and what the template allows has to be asked about, or named in [`OF_OTHERS`].

mod actions;
mod language;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aws_config::SdkConfig;
use rsqlflow_tests::endpoint::Endpoint;
use rsqlflow_tests::peers::provision::{StateMachines, provision};
use rsqlflow_tests::peers::{Kind, Patches, Peer};
use rsqlflow_tests::site::{Site, project};
use rsqlflow_tests::up::Up;
use serde_json::Value;

/// What an endpoint answers to a probe: nothing to say, or how it differs, in a few words that are the same every time.
type Answer = Result<(), String>;
type Asked<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// How long an endpoint has for a probe.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the embedded default does not have: nothing is deployed to it.
const NOT_EMBEDDED: [&str; 1] = ["cloudformation:DescribeStacks"];

/// What policies of the template allow that no part of ours calls, and whose calls those are.
const OF_OTHERS: [(&[&str], &str); 7] = [
    (
        &["events:DescribeRule", "events:PutRule", "events:PutTargets"],
        "Step Functions learns by a rule that a child execution has ended",
    ),
    (&["iam:PassRole"], "Scheduler asks IAM for it when a schedule is made"),
    (&["kms:*", "kms:Decrypt", "kms:GenerateDataKey*"], "SNS encrypts what is published to the topic"),
    (&["lambda:InvokeFunction"], "Scheduler, EventBridge and operators call the trigger"),
    (
        &[
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeLogGroups",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ],
        "Step Functions sets up the delivery of its own log",
    ),
    (&["sqs:SendMessage"], "dead letters of Lambda and Scheduler"),
    (
        &[
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ],
        "Lambda and Step Functions trace",
    ),
];

/// Clients of one endpoint.
struct Ask {
    dynamodb: aws_sdk_dynamodb::Client,
    sfn: aws_sdk_sfn::Client,
    ssm: aws_sdk_ssm::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    secrets: aws_sdk_secretsmanager::Client,
    scheduler: aws_sdk_scheduler::Client,
    sns: aws_sdk_sns::Client,
    cloudformation: aws_sdk_cloudformation::Client,
}

impl Ask {
    fn new(config: &SdkConfig) -> Self {
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            sfn: aws_sdk_sfn::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
            secrets: aws_sdk_secretsmanager::Client::new(config),
            scheduler: aws_sdk_scheduler::Client::new(config),
            sns: aws_sdk_sns::Client::new(config),
            cloudformation: aws_sdk_cloudformation::Client::new(config),
        }
    }
}

/// One thing that we rely on.
struct Probe {
    /// The action or the feature.
    about: &'static str,
    /// What is expected of it.
    expects: &'static str,
    /// Where AWS documents it.
    documented: &'static str,
    ask: Box<dyn for<'a> Fn(&'a Ask) -> Asked<'a>>,
}

fn probes() -> [(&'static str, Vec<Probe>); 2] {
    [("Actions", actions::probes()), ("States Language", language::probes())]
}

/// Asks everything at once: most of it is waiting.
fn answers(endpoint: &Endpoint) -> Vec<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ask = Ask::new(&endpoint.config());
        let all: Vec<Probe> = probes().into_iter().flat_map(|(_, probes)| probes).collect();
        let mut answers = Vec::new();
        let mut waiting: Vec<_> = all.iter().map(|probe| Some((probe.ask)(&ask))).collect();
        let local: Vec<_> = waiting.iter_mut().filter_map(Option::take).collect();
        for asked in join(local).await {
            answers.push(asked);
        }
        answers
    })
}

/// Runs all of them to their end, or to the end of patience.
async fn join(asked: Vec<Asked<'_>>) -> Vec<Answer> {
    let mut running: Vec<_> = asked.into_iter().map(|one| (Some(one), None)).collect();
    let deadline = tokio::time::sleep(PATIENCE);
    tokio::pin!(deadline);
    std::future::poll_fn(|context| {
        let mut open = false;
        for (asked, answer) in &mut running {
            if let Some(future) = asked {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(said) => {
                        *answer = Some(said);
                        *asked = None;
                    }
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        let late = deadline.as_mut().poll(context).is_ready();
        if open && !late { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().map(|(_, answer)| answer.unwrap_or_else(|| Err("does not end".into()))).collect()
}

/// What an endpoint said, by the name of its column.
fn everything() -> BTreeMap<(Kind, Patches), Vec<Answer>> {
    let servers = [
        (Kind::Embedded, Patches::Applied),
        (Kind::MiniStack, Patches::Applied),
        (Kind::MiniStack, Patches::None),
        (Kind::Moto, Patches::Applied),
        (Kind::Moto, Patches::None),
    ];
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            servers.iter().map(|&(kind, patches)| scope.spawn(move || ask(kind, patches))).collect();
        servers.into_iter().zip(threads.into_iter().map(|thread| thread.join().expect("answers"))).collect()
    })
}

fn ask(kind: Kind, patches: Patches) -> Vec<Answer> {
    let site = Site::new();
    if kind == Kind::Embedded {
        let up = Up::start(&site);
        let answers = answers(&up.endpoint());
        up.stop();
        return answers;
    }
    let peer = Peer::start_with(&site, kind, patches);
    // A peer that cannot even be given what a deployment makes says so by every probe that misses it.
    let _: Option<StateMachines> =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| provision(peer.endpoint()))).ok();
    answers(peer.endpoint())
}

#[test]
fn the_page_says_what_endpoints_do() {
    let answers = everything();
    let page = page::render(&probes(), &answers);
    let path = project().join("docs/conformance.md");
    if std::env::var_os("RSQLFLOW_UPDATE").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differing: Vec<String> = page
        .lines()
        .filter(|line| !kept.lines().any(|old| old == *line))
        .map(|line| format!("now {line}"))
        .chain(
            kept.lines()
                .filter(|line| !page.lines().any(|new| new == *line))
                .map(|line| format!("was {line}")),
        )
        .collect();
    assert!(
        kept == page,
        "docs/conformance.md is not what the endpoints do; RSQLFLOW_UPDATE=1 writes it anew:\n{}",
        differing.join("\n")
    );
    let own = &answers[&(Kind::Embedded, Patches::Applied)];
    let all = probes();
    let wrong: Vec<String> = all
        .iter()
        .flat_map(|(_, probes)| probes)
        .zip(own)
        .filter(|(probe, _)| !NOT_EMBEDDED.contains(&probe.about))
        .filter_map(|(probe, answer)| Some(format!("{}: {}", probe.about, answer.as_ref().err()?)))
        .collect();
    assert!(wrong.is_empty(), "the embedded default differs from AWS:\n{}", wrong.join("\n"));
}

/// The actions of every policy in a part of the template; who may assume a role is none.
fn allowed(part: &Value, actions: &mut BTreeSet<String>) {
    let each = |values: &Value| values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
    match part {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "Action" {
                    actions
                        .extend(each(member).iter().filter_map(|action| action.as_str().map(str::to_owned)));
                } else if name != "AssumeRolePolicyDocument" {
                    allowed(member, actions);
                }
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| allowed(part, actions)),
        _ => {}
    }
}

#[test]
fn every_action_that_is_allowed_is_on_the_page() {
    let site = Site::new();
    let template =
        rsqlflow_tests::site::run(&mut site.command(&["template", "--output", "json"])).expect(0).json();
    let mut actions = BTreeSet::new();
    allowed(&template["Resources"], &mut actions);
    assert!(actions.len() > 20, "{actions:?}");
    let probed: BTreeSet<&str> = actions::probes().iter().map(|probe| probe.about).collect();
    let of_others: BTreeSet<&str> = OF_OTHERS.iter().flat_map(|(actions, _)| *actions).copied().collect();
    let missing: Vec<&String> = actions
        .iter()
        .filter(|action| !probed.contains(action.as_str()) && !of_others.contains(action.as_str()))
        .collect();
    assert!(missing.is_empty(), "the template allows what no probe asks about: {missing:?}");
    let idle: Vec<&&str> = of_others.iter().filter(|action| !actions.contains(**action)).collect();
    assert!(idle.is_empty(), "no policy allows {idle:?}");
}
