//! Starting a run: read the item, check it whole, record the run, start the state machine.
//!
//! The order is the promise. Everything that can be refused is refused before anything is written. The record comes
//! before the start, made only if there is none, so that of two starts with one id one wins; a trigger that dies
//! between record and start leaves a `triggered` record, and the same start again finds it and goes on. The start is
//! idempotent by its name and input, so going on is always safe.

use std::collections::{BTreeMap, BTreeSet};

use rsqlflow_config::audit::StageAudit;
use rsqlflow_config::job::SENT_MAX;
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::run::{RunInput, generate_run_id};
use rsqlflow_config::settings::{Backend, LOCAL_HOST, Settings, StateMachines};
use rsqlflow_config::workflow::{Workflow, flag_is_set};
use rsqlflow_config::{names, validate};
use serde::{Deserialize, Serialize};

use crate::choice::{Choice, Selection};
use crate::plan::{self, plan};
use crate::restart::{Earlier, Restart};
use crate::{Audit, Items, TriggerError, record};

/// Seconds after the end of a run's execution by which a host that lives has told what became of its jobs: what is
/// left after the beat that tells it and the grace of the scripts.
const RECORDS_SLACK_SECONDS: u32 = 5;

/// What the trigger needs to know of its account.
#[derive(Debug, Clone)]
pub struct TriggerSettings {
    /// Config table.
    pub config_table: String,
    /// Job audit table.
    pub job_audit_table: String,
    /// Workflow audit table.
    pub workflow_audit_table: String,
    /// Table of hosts.
    pub hosts_table: String,
    /// ARN of the master state machine.
    pub master_arn: String,
    /// ARN of the state machine for sequential stages.
    pub sequential_arn: String,
    /// ARN of the state machine for parallel stages.
    pub parallel_arn: String,
    /// Host of workflows that name none.
    pub host: String,
    /// Secret of workflows that name none.
    pub secret_id: String,
    /// Silence after which a job's host counts as lost.
    pub heartbeat_seconds: u32,
    /// Days after which records may be removed; 0 for never.
    pub audit_days: u32,
    /// What parameters may be called.
    pub parameter_names: ParameterNames,
    /// Seconds after the end of a run's execution in which its hosts still tell what became of its jobs.
    pub late_records_seconds: u32,
}

impl TriggerSettings {
    /// What the settings say, with the ARNs of these state machines.
    pub fn new(settings: &Settings, machines: StateMachines) -> Self {
        Self {
            config_table: settings.tables.config.clone(),
            job_audit_table: settings.tables.job_audit.clone(),
            workflow_audit_table: settings.tables.workflow_audit.clone(),
            hosts_table: settings.tables.hosts.clone(),
            master_arn: machines.master,
            sequential_arn: machines.sequential,
            parallel_arn: machines.parallel,
            host: match settings.backend {
                // No managed instance is called that.
                Backend::Aws if settings.host == LOCAL_HOST => String::new(),
                _ => settings.host.clone(),
            },
            secret_id: settings.secret_id.clone(),
            heartbeat_seconds: settings.heartbeat_seconds,
            audit_days: settings.audit_days,
            parameter_names: settings.parameter_names(),
            late_records_seconds: settings.heartbeat_seconds.div_ceil(3)
                + settings.agent.grace_seconds
                + RECORDS_SLACK_SECONDS,
        }
    }
}

/// A wish for a run.
#[derive(Debug, Clone, Default)]
pub struct StartRequest {
    /// The workflow.
    pub workflow_id: String,
    /// The run's id; generated where none is given.
    pub workflow_execution_id: Option<String>,
    /// Parameters over the item's.
    pub parameters: BTreeMap<String, String>,
    /// Who or what asks, for the audit.
    pub started_by: String,
    /// The time that the schedule named.
    pub scheduled_time: Option<String>,
    /// The earlier run to go on from; an empty `workflow_id` is that run's.
    pub restart: Option<Restart>,
    /// Which of the jobs to run.
    pub choice: Choice,
}

/// A run that has been started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    pub workflow_execution_id: String,
    /// Its Step Functions execution.
    pub execution_arn: String,
    /// Whether an earlier call had started it.
    pub already_started: bool,
}

/// Starts and cancels runs.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sfn: aws_sdk_sfn::Client,
    pub(crate) sns: Option<aws_sdk_sns::Client>,
    pub(crate) settings: TriggerSettings,
    pub(crate) items: Items,
    pub(crate) audit: Audit,
}

impl Trigger {
    /// A trigger over these clients.
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        sfn: aws_sdk_sfn::Client,
        settings: TriggerSettings,
    ) -> Self {
        let items = Items::new(dynamodb.clone(), &settings.config_table);
        let audit = Audit::new(dynamodb.clone(), &settings.workflow_audit_table, &settings.job_audit_table);
        Self { dynamodb, sfn, sns: None, settings, items, audit }
    }

    /// The same, telling of runs that ended without the state machine being able to.
    #[must_use]
    pub fn notifying(mut self, sns: aws_sdk_sns::Client) -> Self {
        self.sns = Some(sns);
        self
    }

    /// Starts a run. The same id for the same workflow and parameters again is the same run.
    ///
    /// # Errors
    /// Any [`TriggerError`]. Most are found before anything is written. [`TriggerError::NotStarted`] comes after that: the
    /// same call again is right, with the id that it names. Where the service refused for good, the record is closed, says
    /// why, and gives the id free. The record of a restart for which another was quicker is closed as well.
    pub async fn start(&self, mut request: StartRequest) -> Result<Started, TriggerError> {
        self.check_parameters(&request.parameters)?;
        if let Some(id) = &request.workflow_execution_id
            && let Some(problem) = names::execution_name_problem(id, names::RUN_ID_MAX)
        {
            return Err(TriggerError::InvalidRunId { id: id.clone(), problem });
        }
        let earlier = match &request.restart {
            Some(restart) => Some(self.earlier_run(&restart.of, &request.workflow_id).await?),
            None => None,
        };
        if let Some(earlier) = &earlier {
            request.workflow_id = earlier.workflow_id().into();
        }
        let run_id =
            request.workflow_execution_id.clone().unwrap_or_else(|| generate_run_id(&request.workflow_id));
        let over = request.parameters.clone();
        let mut unstarted = None;
        if let Some(earlier) = &earlier {
            unstarted = self.not_restarted(earlier, &run_id).await?;
            request.parameters = earlier.parameters(request.parameters);
        }
        let (input, stages) = match (&earlier, &request.restart) {
            (Some(earlier), Some(Restart { as_it_was: true, .. })) => {
                let (input, stages) = self.as_it_was(earlier, &run_id, &over).await?;
                self.check_input(&input)?;
                (input, stages)
            }
            _ => {
                let workflow = self.workflow(&request.workflow_id).await?;
                self.unselected(&workflow, &run_id, &request.parameters)?
            }
        };
        let planned = if earlier.is_none() && request.choice == Choice::All {
            Planned::new(input, stages, Selection::default())?
        } else {
            let none = BTreeSet::new();
            let completed = earlier.as_ref().map_or(&none, Earlier::completed);
            let selection = request.choice.select(&stages, completed)?;
            Planned::new(input, stages, selection)?.not_empty()?
        };
        let recorded = self.record(&planned, &request).await?;
        if let Some(earlier) = &earlier {
            match self.link(earlier, unstarted.as_ref(), &recorded.record).await {
                Err(error @ TriggerError::Aws { .. }) => {
                    return self.refused(&recorded, Box::new(error)).await;
                }
                linked => linked?,
            }
        }
        self.execute(recorded, &planned.text).await
    }

    /// All of a workflow as the state machine would be given it, checked against what it takes.
    pub(crate) fn planned(
        &self,
        workflow: &Workflow,
        run_id: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Planned, TriggerError> {
        let (input, stages) = self.unselected(workflow, run_id, parameters)?;
        Planned::new(input, stages, Selection::default())
    }

    /// Every parameter of a run. Those of an earlier or a queued one were given under the rules of their day.
    fn check_input(&self, input: &RunInput) -> Result<(), TriggerError> {
        let own = input.stages.iter().flat_map(|stage| &stage.jobs).map(|job| &job.parameters);
        std::iter::once(&input.run.parameters).chain(own).try_for_each(|some| self.check_parameters(some))
    }

    fn check_parameters(&self, parameters: &BTreeMap<String, String>) -> Result<(), TriggerError> {
        for (name, value) in parameters {
            let nul = || value.contains('\0').then(|| "must not contain NUL characters".to_owned());
            if let Some(problem) = self.settings.parameter_names.problem(name).or_else(nul) {
                return Err(TriggerError::InvalidParameter { name: name.clone(), problem });
            }
        }
        Ok(())
    }

    fn unselected(
        &self,
        workflow: &Workflow,
        run_id: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(RunInput, Vec<StageAudit>), TriggerError> {
        let input = plan(workflow, run_id, parameters, &self.settings);
        if input.run.host.as_ref().is_some_and(String::is_empty) {
            return Err(TriggerError::NoHost(workflow.workflow_id.clone()));
        }
        self.check_input(&input)?;
        Ok((input, record::stages(workflow)))
    }

    /// An item that may be run.
    pub(crate) async fn workflow(&self, id: &str) -> Result<Workflow, TriggerError> {
        let Some(item) = self.items.get(id).await? else {
            return Err(TriggerError::UnknownWorkflow { id: id.into(), known: self.items.nearest(id).await });
        };
        let workflow = validate::workflow(item, &self.settings.parameter_names)
            .map_err(|source| TriggerError::InvalidWorkflow { id: id.into(), source: Box::new(source) })?;
        if workflow.execution_flag.as_deref().is_some_and(|flag| !flag_is_set(flag)) {
            return Err(TriggerError::Disabled(id.into()));
        }
        Ok(workflow)
    }
}

/// What a run will do.
pub(crate) struct Planned {
    /// The input of its execution.
    pub(crate) input: RunInput,
    /// The same as text.
    pub(crate) text: String,
    /// The stages of the item.
    pub(crate) stages: Vec<StageAudit>,
    /// Which of their jobs it does not have, where it has not all.
    pub(crate) selection: Selection,
}

impl Planned {
    fn new(mut input: RunInput, stages: Vec<StageAudit>, selection: Selection) -> Result<Self, TriggerError> {
        selection.apply(&mut input);
        let text = serde_json::to_string(&input)
            .map_err(|error| TriggerError::Record { table: "input".into(), message: error.to_string() })?;
        if text.len() > names::RUN_INPUT_MAX {
            return Err(TriggerError::TooLarge { size: text.len() });
        }
        for job in input.stages.iter().flat_map(|stage| &stage.jobs) {
            let size = plan::request_size(&input.run, job);
            if size > SENT_MAX {
                return Err(TriggerError::JobTooLarge { job: job.job_name.clone(), size });
            }
        }
        Ok(Self { input, text, stages, selection })
    }
}

#[cfg(test)]
impl TriggerSettings {
    pub(crate) fn example() -> Self {
        let arn = |name: &str| format!("arn:aws:states:us-east-1:000000000000:stateMachine:rsqlflow-{name}");
        Self {
            config_table: "config".into(),
            job_audit_table: "job-audit".into(),
            workflow_audit_table: "workflow-audit".into(),
            hosts_table: "hosts".into(),
            master_arn: arn("master"),
            sequential_arn: arn("sequential"),
            parallel_arn: arn("parallel"),
            host: "i-rsqlflow".into(),
            secret_id: "rsqlflow/warehouse".into(),
            heartbeat_seconds: 30,
            audit_days: 0,
            parameter_names: ParameterNames::default(),
            late_records_seconds: 25,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_may_be_as_long_as_its_limit_and_not_longer() {
        let workflow = rsqlflow_config::validate::workflow_from_text(
            "workflow_id: w\nworkflow_stages: [{ execution_flag: y, execution_type: parallel, scripts: [a.sh] }]",
        )
        .unwrap();
        let input = plan::plan(&workflow, "w-1", &BTreeMap::new(), &TriggerSettings::example());
        let sized = |size: usize| {
            let mut input = input.clone();
            let missing = size - serde_json::to_string(&input).unwrap().len();
            input.stages[0].stage_description += &"x".repeat(missing);
            Planned::new(input, vec![], Selection::default())
        };
        assert_eq!(sized(names::RUN_INPUT_MAX).unwrap().text.len(), 256_000);
        let refused = sized(names::RUN_INPUT_MAX + 1).err().unwrap().to_string();
        assert!(refused.contains("256001 bytes"), "{refused}");
    }
}
