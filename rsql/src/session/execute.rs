//! Sending one statement and dealing with all that comes back.

use std::time::Instant;

use crate::dialect::{Dialect, Translation, translate};
use crate::output::ResultPrinter;
use crate::wire::{Event, ServerMessage, TransactionStatus, WireError};

use super::{Flow, Session};

/// What becomes of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is printed.
    Print,
    /// Its one row becomes variables, their names after this prefix.
    Set(String),
}

/// The one row that `\gset` wants.
#[derive(Default)]
struct Collected {
    names: Vec<String>,
    row: Option<Vec<Option<String>>>,
    rows: u64,
}

impl Session {
    /// Runs a statement.
    pub(crate) async fn execute(&mut self, statement: &str, purpose: Purpose) -> Result<Flow, WireError> {
        self.terminal.flush();
        if self.echoes("queries") {
            self.terminal.print(&format!("{statement}\n"));
        }
        statement.clone_into(&mut self.last_statement);
        let start = Instant::now();
        let translation = match self.dialect {
            Dialect::Redshift => Translation::Unchanged,
            Dialect::Postgres => translate(statement),
        };
        let flow = match translation {
            Translation::Unchanged => self.send(statement, &purpose).await?,
            Translation::Rewritten(rewritten) => {
                tracing::debug!(from = statement, to = rewritten, "translated for PostgreSQL");
                self.send(&rewritten, &purpose).await?
            }
            Translation::Load(load) => self.load(&load, statement).await?,
            Translation::Refused(error) => self.fail(error, statement).await?,
        };
        self.print_timing(start);
        Ok(flow)
    }

    /// Fails a statement that was never sent, and the transaction it stands in with it.
    pub(super) async fn fail(
        &mut self,
        error: Box<ServerMessage>,
        statement: &str,
    ) -> Result<Flow, WireError> {
        match self.connection.status() {
            TransactionStatus::Idle => {}
            TransactionStatus::Open => {
                let raise = "do $$ begin raise exception 'refused by the client'; end $$";
                self.run_silently(raise).await?;
            }
            // The server's own words for what follows an error.
            TransactionStatus::Failed => return self.send(statement, &Purpose::Print).await,
        }
        self.report_error(&error, statement);
        Ok(self.after_error(&error))
    }

    pub(super) async fn send(&mut self, statement: &str, purpose: &Purpose) -> Result<Flow, WireError> {
        self.connection.start_query(statement).await?;
        let mut printer: Option<ResultPrinter> = None;
        let mut collected = Collected::default();
        let mut failure = None;
        let mut copied_out = false;
        loop {
            match self.connection.next().await? {
                Event::Columns(columns) => {
                    if *purpose == Purpose::Print {
                        let layout = self.layout.clone();
                        self.terminal.result(|out| {
                            printer = Some(ResultPrinter::begin(&layout, columns, out)?);
                            Ok(())
                        });
                    } else {
                        collected.names = columns.into_iter().map(|column| column.name).collect();
                    }
                }
                Event::Row(row) => {
                    let values = row.values()?;
                    if let Some(printer) = &mut printer {
                        self.terminal.result(|out| printer.row(&values, out));
                    } else {
                        collected.rows += 1;
                        collected.row.get_or_insert_with(|| {
                            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                            values.iter().map(|value| value.map(text)).collect()
                        });
                    }
                }
                Event::Complete(tag) => {
                    let had_rows = printer.is_some() || *purpose != Purpose::Print;
                    if let Some(printer) = printer.take() {
                        self.terminal.result(|out| printer.finish(out));
                    }
                    self.record_tag(&tag);
                    let changed =
                        ["INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|verb| tag.starts_with(verb));
                    if (!had_rows || changed) && !copied_out && !self.is_quiet() {
                        self.terminal.result(|out| writeln!(out, "{tag}"));
                    }
                }
                Event::Empty => {}
                Event::Error(error) => {
                    // Of a table that was not complete nothing is shown, as in psql.
                    printer = None;
                    self.report_error(&error, statement);
                    failure = Some(error);
                }
                Event::Notice(notice) => self.report_notice(&notice),
                Event::CopyIn => self.copy_inline().await?,
                Event::CopyOut => copied_out = true,
                Event::CopyData(data) => self.terminal.result(|out| out.write_all(&data)),
                Event::CopyDone => {}
                Event::Ready => break,
            }
        }
        match failure {
            Some(error) => Ok(self.after_error(&error)),
            None => {
                if let Purpose::Set(prefix) = purpose {
                    self.set_from(collected, prefix);
                }
                Ok(Flow::Continue)
            }
        }
    }

    /// Runs a statement of the client's own; nothing is shown and no variable changes.
    /// Returns its rows, empty if it fails.
    pub(super) async fn run_silently(
        &mut self,
        statement: &str,
    ) -> Result<Vec<Vec<Option<String>>>, WireError> {
        self.connection.start_query(statement).await?;
        let mut rows = Vec::new();
        loop {
            match self.connection.next().await? {
                Event::Row(row) => {
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    rows.push(row.values()?.into_iter().map(|value| value.map(text)).collect());
                }
                Event::Ready => return Ok(rows),
                Event::Error(_) => rows.clear(),
                _ => {}
            }
        }
    }

    /// `COPY ... FROM STDIN`: the lines that follow in the script, up to `\.`.
    async fn copy_inline(&mut self) -> Result<(), WireError> {
        while let Some(frame) = self.frames.last_mut() {
            match frame.source.read_copy_line() {
                Ok(Some(line)) => drop(self.connection.copy_data(&line).await?),
                Ok(None) => break,
                Err(error) => return self.connection.copy_fail(&error.to_string()).await,
            }
        }
        self.connection.copy_done().await
    }

    /// The numbers of a command tag become ACTIVITYCOUNT and ROW_COUNT.
    pub(super) fn record_tag(&mut self, tag: &str) {
        let count = tag.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        let moved = ["SELECT", "COPY", "UNLOAD", "FETCH", "MOVE"].iter().any(|verb| tag.starts_with(verb));
        self.variables.record_success(count, if moved { 0 } else { count });
    }

    fn set_from(&mut self, collected: Collected, prefix: &str) {
        let reason = match (collected.rows, collected.row) {
            (1, Some(row)) => {
                for (name, value) in collected.names.iter().zip(row) {
                    let name = format!("{prefix}{name}");
                    match value {
                        Some(value) => self.variables.set(&name, value),
                        // psql unsets a variable whose value is NULL.
                        None => self.variables.unset(&name),
                    }
                }
                return;
            }
            (0, _) => "no rows returned for \\gset",
            _ => "more than one row returned for \\gset",
        };
        self.command_error("gset", reason);
    }
}
