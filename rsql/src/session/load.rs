//! Running a COPY from S3 against PostgreSQL: what is loaded where, streaming, the outcome.

use crate::copy::{Encoder, Fields, RecordError, Records, TargetColumn, find_files, open};
use crate::dialect::copy::Load;
use crate::lexer::{quote_identifier, quote_literal};
use crate::wire::{Event, ServerMessage, TransactionStatus, WireError};

use super::execute::Purpose;
use super::{Flow, Session};

/// How much is encoded before it is handed to the connection.
const CHUNK: usize = 32 * 1024;

impl Session {
    pub(super) async fn load(&mut self, load: &Load, statement: &str) -> Result<Flow, WireError> {
        if self.connection.status() == TransactionStatus::Failed {
            return self.send(statement, &Purpose::Print).await;
        }
        let files = match find_files(load, self.s3_root.as_deref()) {
            Ok(files) => files,
            Err(error) => {
                let error = ServerMessage::local("58030", error.to_string()).with_hint(error.advice());
                return self.fail(error, statement).await;
            }
        };
        let columns = match self.target_columns(load).await? {
            Ok(columns) => columns,
            Err(error) => return self.fail(error, statement).await,
        };
        let names: Vec<String> = columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let copy = format!("copy {} ({}) from stdin", load.table, names.join(", "));
        tracing::debug!(from = statement, to = copy, files = files.len(), "translated for PostgreSQL");

        self.connection.start_query(&copy).await?;
        let mut outcome = None;
        let mut own_error = None;
        loop {
            match self.connection.next().await? {
                Event::CopyIn => {
                    let mut sent = Ok(());
                    for file in &files {
                        sent = self.send_file(load, &columns, file).await?;
                        if sent.is_err() {
                            break;
                        }
                    }
                    match sent {
                        Ok(()) => self.connection.copy_done().await?,
                        Err(Stopped::ByServer) => self.connection.copy_fail("refused").await?,
                        Err(Stopped::ByRecord(error)) => {
                            self.connection.copy_fail(&error.message).await?;
                            own_error = Some(error);
                        }
                    }
                }
                Event::Complete(tag) => outcome = Some(Ok(tag)),
                // What the client found out says more than the server's echo of it.
                Event::Error(error) => outcome = Some(Err(own_error.take().unwrap_or(error))),
                Event::Notice(notice) => self.report_notice(&notice),
                Event::Ready => break,
                _ => {}
            }
        }
        match outcome {
            Some(Ok(tag)) => {
                self.loaded(load, &tag);
                Ok(Flow::Continue)
            }
            Some(Err(mut error)) => {
                error.position = None; // it would point into the translated statement
                self.report_error(&error, statement);
                Ok(self.after_error(&error))
            }
            None => Err(WireError::Protocol("COPY ended without a word")),
        }
    }

    /// Redshift's message, which log readers count on, and the tag.
    fn loaded(&mut self, load: &Load, tag: &str) {
        self.record_tag(tag);
        let records = tag.rsplit(' ').next().unwrap_or("0");
        let table = load.table.rsplit('.').next().unwrap_or(&load.table).trim_matches('"');
        let notice = ServerMessage {
            severity: "INFO".into(),
            message: format!("Load into table '{table}' completed, {records} record(s) loaded successfully."),
            ..ServerMessage::default()
        };
        self.report_notice(&notice);
        if !self.is_quiet() {
            self.terminal.result(|out| writeln!(out, "COPY"));
        }
    }

    /// The columns a load fills, in the order of the fields. Without a list they are all but the
    /// identity columns, which take part only with EXPLICIT_IDS.
    async fn target_columns(
        &mut self,
        load: &Load,
    ) -> Result<Result<Vec<TargetColumn>, Box<ServerMessage>>, WireError> {
        let query = format!(
            "select attname, atttypid::bigint, atttypmod, attidentity <> '' from pg_catalog.pg_attribute \
             where attrelid = pg_catalog.to_regclass({}) and attnum > 0 and not attisdropped order by attnum",
            quote_literal(&load.table).trim_start()
        );
        let rows = self.run_silently(&query).await?;
        if rows.is_empty() {
            let message = format!("relation \"{}\" does not exist", load.table);
            return Ok(Err(ServerMessage::local("42P01", message)));
        }
        let mut all = Vec::new();
        for row in rows {
            if let [Some(name), Some(oid), Some(modifier), Some(identity)] = row.as_slice() {
                let column =
                    TargetColumn::new(name.clone(), oid.parse().unwrap_or(0), modifier.parse().unwrap_or(-1));
                all.push((column, identity == "t"));
            }
        }
        if load.columns.is_empty() {
            let chosen = all.into_iter().filter(|(_, identity)| !identity || load.explicit_ids);
            return Ok(Ok(chosen.map(|(column, _)| column).collect()));
        }
        let mut chosen = Vec::new();
        for name in &load.columns {
            let folded = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
                Some(quoted) => quoted.replace("\"\"", "\""),
                None => name.to_lowercase(),
            };
            match all.iter().find(|(column, _)| column.name == folded) {
                Some((column, _)) => chosen.push(column.clone()),
                None => {
                    let message =
                        format!("column \"{folded}\" of relation \"{}\" does not exist", load.table);
                    return Ok(Err(ServerMessage::local("42703", message)));
                }
            }
        }
        Ok(Ok(chosen))
    }

    async fn send_file(
        &mut self,
        load: &Load,
        columns: &[TargetColumn],
        file: &std::path::Path,
    ) -> Result<Result<(), Stopped>, WireError> {
        let stopped = |code: &str, reason: String| {
            Ok(Err(Stopped::ByRecord(ServerMessage::local(
                code,
                format!("Load into table '{}' failed: {reason}", load.table),
            ))))
        };
        let opened = open(file, load.gzip).map_err(RecordError::from);
        let mut records = match opened.and_then(|reader| Records::new(load, reader)) {
            Ok(records) => records,
            Err(error) => return stopped("58030", format!("{}: {error}", file.display())),
        };
        let encoder = Encoder::new(load, columns);
        let mut fields = Fields::default();
        let mut chunk = Vec::with_capacity(CHUNK * 2);
        loop {
            let more = match records.read(&mut fields) {
                Ok(more) => more,
                Err(error) => {
                    let code = if matches!(error, RecordError::Io(_)) { "58030" } else { "22P04" };
                    return stopped(code, format!("{}, line {}: {error}", file.display(), records.line()));
                }
            };
            if more && let Err(reason) = encoder.encode(&fields, &mut chunk) {
                return stopped("22P04", format!("{}, line {}: {reason}", file.display(), records.line()));
            }
            if chunk.len() >= CHUNK || (!more && !chunk.is_empty()) {
                if !self.connection.copy_data(&chunk).await? {
                    return Ok(Err(Stopped::ByServer));
                }
                chunk.clear();
            }
            if !more {
                return Ok(Ok(()));
            }
        }
    }
}

/// Why a file was not sent to its end.
enum Stopped {
    /// The server has already said no.
    ByServer,
    /// A record, or the file, is not as it should be.
    ByRecord(Box<ServerMessage>),
}
