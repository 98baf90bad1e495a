//! `rsqlflow runs`: one line a run, newest first.

use chrono::{DateTime, Utc};
use rsqlflow_config::audit::WorkflowAudit;

use crate::clock::{between, date_time};
use crate::screen::{Screen, Tone};

/// The runs as a table.
pub(crate) fn runs(runs: &[WorkflowAudit], screen: Screen, now: DateTime<Utc>) -> String {
    let rows = runs.iter().map(|run| {
        vec![
            (Tone::Plain, run.workflow_execution_id.clone()),
            (Tone::Plain, run.workflow_id.clone()),
            (run.execution_status.into(), run.execution_status.to_string()),
            (Tone::Plain, date_time(&run.execution_start_ts)),
            (Tone::Plain, between(&run.execution_start_ts, run.execution_end_ts.as_deref(), now)),
            (Tone::Faint, run.started_by.clone()),
        ]
    });
    screen.table(&["RUN", "WORKFLOW", "STATUS", "STARTED (UTC)", "TOOK", "STARTED BY"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::samples;

    #[test]
    fn runs_are_lines() {
        let now = rsqlflow_config::time::parse(&samples::at("03:00:05.000")).unwrap();
        let list = [samples::running().run, samples::failed().run];
        insta::assert_snapshot!(runs(&list, Screen::plain(), now));
    }
}
