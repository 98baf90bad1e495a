//! Which of a workflow's jobs a run has: all, or those that an earlier run did not complete, or those that were named.
//!
//! What is named is run, whether it completed earlier or not: whoever names a stage or a job has a reason. Pure, so that
//! every rule of it is tested by value.

use std::collections::BTreeSet;

use rsqlflow_config::audit::StageAudit;
use rsqlflow_config::run::RunInput;

use crate::TriggerError;

/// What of a workflow was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// All of it, or what has not completed.
    #[default]
    All,
    /// From this stage on: its number in the item, from 1, or its description.
    FromStage(String),
    /// These jobs.
    Only(Vec<String>),
}

/// What runs and what does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The jobs that run; all where there was nothing to choose.
    run: Option<BTreeSet<String>>,
    /// Those that do not because they completed earlier, in the item's order.
    pub(crate) completed_earlier: Vec<String>,
    /// Those that do not because they were not asked for, in the item's order.
    pub(crate) left_out: Vec<String>,
}

impl Choice {
    /// Chooses from the stages, of whose jobs some have completed earlier.
    pub(crate) fn select(
        &self,
        stages: &[StageAudit],
        completed: &BTreeSet<String>,
    ) -> Result<Selection, TriggerError> {
        let first = if let Self::FromStage(wanted) = self { stage(stages, wanted)? } else { 0 };
        let only: &[String] = if let Self::Only(jobs) = self { jobs } else { &[] };
        for wanted in only {
            let place = stages.iter().find(|stage| stage.jobs.contains(wanted));
            let place = place.ok_or_else(|| unknown_job(stages, wanted))?;
            if place.skipped {
                let stage = place.stage_description.clone();
                return Err(TriggerError::JobSwitchedOff { job: wanted.clone(), stage });
            }
        }
        let mut selection = Selection::default();
        let mut run = BTreeSet::new();
        for (at, stage) in stages.iter().enumerate().filter(|(_, stage)| !stage.skipped) {
            for job in &stage.jobs {
                let completed = completed.contains(job);
                let asked = match self {
                    Self::All => !completed,
                    Self::FromStage(_) => at >= first,
                    Self::Only(jobs) => jobs.contains(job),
                };
                if asked {
                    run.insert(job.clone());
                } else if completed {
                    selection.completed_earlier.push(job.clone());
                } else {
                    selection.left_out.push(job.clone());
                }
            }
        }
        Ok(Selection { run: Some(run), ..selection })
    }
}

impl Selection {
    /// Whether there was something to choose.
    pub(crate) fn is_chosen(&self) -> bool {
        self.run.is_some()
    }

    /// Leaves in the input what runs. Stages keep their numbers.
    pub(crate) fn apply(&self, input: &mut RunInput) {
        let Some(run) = &self.run else { return };
        for stage in &mut input.stages {
            stage.jobs.retain(|job| run.contains(&job.job_name));
        }
        input.stages.retain(|stage| !stage.jobs.is_empty());
    }
}

/// The place of a stage, by its number or its description.
fn stage(stages: &[StageAudit], wanted: &str) -> Result<usize, TriggerError> {
    let by_number = wanted.parse::<usize>().ok().filter(|number| (1..=stages.len()).contains(number));
    let named = |stage: &StageAudit| stage.stage_description == wanted;
    by_number.map(|number| number - 1).or_else(|| stages.iter().position(named)).ok_or_else(|| {
        let known: Vec<String> = stages
            .iter()
            .enumerate()
            .map(|(at, stage)| format!("{} ({})", at + 1, stage.stage_description))
            .collect();
        TriggerError::UnknownStage { wanted: wanted.into(), known: known.join(", ") }
    })
}

fn unknown_job(stages: &[StageAudit], wanted: &str) -> TriggerError {
    let known = stages.iter().flat_map(|stage| &stage.jobs);
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(known, wanted), known))
        .filter(|(distance, known)| *distance <= 1 + known.chars().count() / 3)
        .min()
        .map(|(_, known)| known.clone());
    TriggerError::UnknownJob { job: wanted.into(), known: nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsqlflow_config::workflow::ExecutionType;

    fn stages() -> Vec<StageAudit> {
        let stage = |name: &str, jobs: &[&str], skipped| StageAudit {
            stage_description: name.into(),
            execution_type: ExecutionType::Parallel,
            jobs: jobs.iter().map(|job| (*job).into()).collect(),
            skipped,
        };
        vec![
            stage("Load", &["a", "b"], false),
            stage("Archive", &["x"], true),
            stage("Marts", &["c", "d", "e"], false),
        ]
    }

    fn select(from: Option<&str>, only: &[&str], completed: &[&str]) -> Result<String, String> {
        let choice = match from {
            Some(from) => Choice::FromStage(from.into()),
            None if only.is_empty() => Choice::All,
            None => Choice::Only(only.iter().map(|job| (*job).into()).collect()),
        };
        let completed = completed.iter().map(|job| (*job).into()).collect();
        let words = |jobs: Vec<String>| jobs.join("");
        choice.select(&stages(), &completed).map_err(|error| error.to_string()).map(|selection| {
            format!(
                "{}|{}|{}",
                words(selection.run.into_iter().flatten().collect()),
                words(selection.completed_earlier),
                words(selection.left_out)
            )
        })
    }

    #[test]
    fn what_completed_is_not_run_again_unless_it_is_named() {
        assert_eq!(select(None, &[], &[]).unwrap(), "abcde||");
        assert_eq!(select(None, &[], &["a", "b", "d"]).unwrap(), "ce|abd|");
        assert_eq!(select(None, &[], &["gone"]).unwrap(), "abcde||");
        assert_eq!(select(Some("3"), &[], &["a", "d"]).unwrap(), "cde|a|b");
        assert_eq!(select(Some("Marts"), &[], &[]).unwrap(), "cde||ab");
        assert_eq!(select(None, &["d", "a"], &["a", "b"]).unwrap(), "ad|b|ce");
    }

    #[test]
    fn a_name_that_is_none_is_told_what_there_is() {
        assert_eq!(
            select(Some("4"), &[], &[]).unwrap_err(),
            "there is no stage `4`; there are 1 (Load), 2 (Archive), 3 (Marts)"
        );
        assert_eq!(select(None, &["aa"], &[]).unwrap_err(), "there is no job `aa`; did you mean `a`?");
        assert!(select(None, &["x"], &[]).unwrap_err().contains("switched off"));
    }
}
