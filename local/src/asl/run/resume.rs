//! Taking an execution up again from its rows, after a restart or when a step could not be written.
//!
//! Nothing is remembered that is not on disk: timers come from deadlines, and what was under way is found out from
//! what each frame waits for. A task whose call was not known to be answered is called again, with the arguments and
//! the token it had: delivery is at least once. A task that waits for a callback keeps waiting; it gets a whole
//! heartbeat interval, since no heartbeat could reach us while we were away. A job is waited for again.

use std::cmp::Reverse;
use std::collections::HashMap;

use rusqlite::Connection;

use crate::asl::definition::Kind;
use crate::asl::frame::{Body, Frame, Phase};
use crate::asl::journal::{self, number};
use crate::asl::payload::Payload;
use crate::asl::token::TaskRef;

use super::{Effect, Run};

impl Run {
    /// Fills a new run from its rows.
    pub(crate) fn load(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let (first, last) = journal::keys(self.id);
        let highest = |table: &str| -> rusqlite::Result<u64> {
            let sql = format!("select coalesce(max(id), ?1) from {table} where id between ?1 and ?2");
            Ok(number(connection.query_row(&sql, [first, last], |row| row.get(0))?))
        };
        self.next_event = highest("sfn_event")? + 1;
        self.last_row = u32::try_from(highest("sfn_payload")?).unwrap_or(u32::MAX);
        self.next_frame = u32::try_from(highest("sfn_frame")? + 1).unwrap_or(u32::MAX);
        let mut known = HashMap::new();
        let frame_number = |key: i64| u32::try_from(number(key)).unwrap_or_default();

        let mut rows = connection.prepare(
            "select id, parent, position, body, input from sfn_frame where id between ?1 and ?2 order by id",
        )?;
        let mut rows = rows.query([first, last])?;
        while let Some(row) = rows.next()? {
            let id = frame_number(row.get(0)?);
            let parent = row.get::<_, Option<i64>>(1)?.map(frame_number);
            let body: String = row.get(3)?;
            let body: Body = serde_json::from_str(&body)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            let input = journal::payload(connection, row.get_ref(4)?, &mut known)?;
            let input = input.unwrap_or_else(|| Payload::new(serde_json::Value::Null));
            let mut frame = Frame::new(parent, row.get(2)?, input, 0);
            frame.body = body;
            frame.on_disk = true;
            if let Some(parent) = parent.and_then(|parent| self.frames.get_mut(&parent)) {
                parent.children.push(id);
            }
            self.frames.insert(id, frame);
        }

        let mut rows = connection
            .prepare("select frame, name, value from sfn_variable where frame between ?1 and ?2")?;
        let mut rows = rows.query([first, last])?;
        while let Some(row) = rows.next()? {
            let value = journal::payload(connection, row.get_ref(2)?, &mut known)?;
            if let (Some(frame), Some(value)) = (self.frames.get_mut(&frame_number(row.get(0)?)), value) {
                frame.variables.insert(row.get(1)?, value);
            }
        }

        let mut rows = connection
            .prepare("select frame, position, output from sfn_result where frame between ?1 and ?2")?;
        let mut rows = rows.query([first, last])?;
        while let Some(row) = rows.next()? {
            let output = journal::payload(connection, row.get_ref(2)?, &mut known)?;
            if let Some(frame) = self.frames.get_mut(&frame_number(row.get(0)?)) {
                frame.results.insert(row.get(1)?, output);
            }
        }

        let mut rows =
            connection.prepare("select frame, items from sfn_items where frame between ?1 and ?2")?;
        let mut rows = rows.query([first, last])?;
        while let Some(row) = rows.next()? {
            let items = journal::payload(connection, row.get_ref(1)?, &mut known)?;
            if let Some(frame) = self.frames.get_mut(&frame_number(row.get(0)?)) {
                frame.items = items;
            }
        }
        Ok(())
    }

    /// Takes up what was under way: the next step holds what to do. `unseen_ms` is the clock's unseen time by now, of
    /// which nothing is known from before.
    pub(crate) fn resume(&mut self, now_ms: i64, unseen_ms: i64) {
        (self.now_ms, self.unseen_ms) = (now_ms, unseen_ms);
        let mut under_way = Vec::new();
        for (number, frame) in &mut self.frames {
            if let Phase::Task(phase) = &mut frame.body.phase {
                let interval = phase.heartbeat_seconds.and_then(|seconds| i64::try_from(seconds).ok());
                phase.heartbeat_at_ms = interval.map(|seconds| now_ms + seconds * 1000);
                under_way.push(TaskRef { execution: self.id, frame: *number, event: phase.event });
            }
            if let Some(at) = frame.deadline_ms() {
                self.timers.push(Reverse((at, *number)));
            }
        }
        // What is over by now is not called again.
        self.tick(now_ms);
        let definition = std::sync::Arc::clone(&self.definition);
        for task_ref in under_way {
            let number = task_ref.frame;
            let Some((phase, resource)) = self.task_state(task_ref) else { continue };
            let phase = phase.clone();
            let Some(frame) = self.frames.get(&number) else { continue };
            let Some(state) = definition.states.get(frame.body.state.as_str()) else { continue };
            let Kind::Task(task) = &state.kind else { continue };
            if let Some(submission) = phase.submission {
                self.step.effects.push(Effect::Await { task: task_ref, resource, submission });
            } else if !phase.submitted {
                let again = (phase.scheduled_ms, phase.seed);
                match self.arguments(number, state, task, phase.event, again) {
                    Ok((_, arguments)) => {
                        self.step.effects.push(Effect::Call { task: task_ref, resource, arguments });
                    }
                    // They could be evaluated once, with the same values; limits of time may differ.
                    Err(error) => {
                        self.query_failed(number, error);
                        self.go();
                    }
                }
            }
        }
    }
}
