//! What an execution keeps on disk, and how a step of it is written.
//!
//! Only what changed is written: a Map's items once, each iteration's result once, a frame's row when it moved on.
//! Documents above [`INLINE_BYTES`] have a row of their own, and others refer to it by number.
//!
//! Numbers of events, frames and documents count from one within their execution; on disk the execution's number
//! stands above [`NUMBER_BITS`] bits of them, so each table is keyed by one integer and an execution's rows lie
//! together.

use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::history::Event;
use super::payload::Payload;

/// The tables; safe to run again. An execution's documents are its last columns: to get at a column, SQLite reads
/// all that is before it.
pub(crate) const SCHEMA: &str = "
create table if not exists sfn_meta (name text primary key, value blob not null) without rowid;
create table if not exists sfn_definition (id integer primary key, sha256 blob not null unique, body text not null);
create table if not exists sfn_machine (
    arn text primary key, name text not null, definition integer not null, role_arn text not null, type text not null,
    settings text not null, tags text not null, revision text not null,
    created_ms integer not null, updated_ms integer not null);
create table if not exists sfn_execution (
    id integer primary key, arn text not null unique, name text not null, machine_arn text not null,
    role_arn text not null, definition integer not null, status text not null,
    started_ms integer not null, stopped_ms integer,
    parent_execution integer, parent_frame integer, parent_event integer, parent_awaits integer, trace_header text,
    error text, output, cause text, input text not null);
create index if not exists sfn_execution_of_machine on sfn_execution (machine_arn, started_ms desc);
create index if not exists sfn_execution_running on sfn_execution (status) where status = 'RUNNING';
create unique index if not exists sfn_execution_of_task
    on sfn_execution (parent_execution, parent_frame, parent_event) where parent_execution is not null;
create table if not exists sfn_payload (id integer primary key, json text not null);
create table if not exists sfn_event (
    id integer primary key, previous integer not null, at_ms integer not null, type text not null,
    details text not null, payload);
create table if not exists sfn_frame (
    id integer primary key, parent integer, position integer not null, body text not null, input not null);
create table if not exists sfn_variable (
    frame integer not null, name text not null, value not null, primary key (frame, name)) without rowid;
create table if not exists sfn_items (frame integer primary key, items not null);
create table if not exists sfn_result (
    frame integer not null, position integer not null, output, primary key (frame, position)) without rowid;
";

/// Larger documents get a row of their own.
const INLINE_BYTES: usize = 512;

const NUMBER_BITS: u32 = 24;

/// The key of number `number` of `execution`.
pub(crate) fn key(execution: i64, number: u64) -> i64 {
    execution << NUMBER_BITS | i64::try_from(number).unwrap_or_default()
}

/// The keys of everything of `execution`, as bounds for `between`.
pub(crate) fn keys(execution: i64) -> (i64, i64) {
    (key(execution, 0), key(execution, (1 << NUMBER_BITS) - 1))
}

/// The number in a key.
pub(crate) fn number(key: i64) -> u64 {
    u64::try_from(key & ((1 << NUMBER_BITS) - 1)).unwrap_or_default()
}

/// A document in a column: its text, or the number of the row that has it.
#[derive(Debug)]
pub(crate) enum Cell {
    Text(Payload),
    Row(u32),
}

/// One change of an execution's rows.
#[derive(Debug)]
pub(crate) enum Write {
    Payload {
        row: u32,
        payload: Payload,
    },
    Event {
        event: Event,
        payload: Option<Cell>,
    },
    Frame {
        frame: u32,
        parent: Option<u32>,
        position: u32,
        body: String,
        input: Cell,
    },
    /// The frame and what belongs to it.
    FrameGone {
        frame: u32,
    },
    Variable {
        frame: u32,
        name: String,
        value: Cell,
    },
    Items {
        frame: u32,
        items: Cell,
    },
    /// The output of a branch or iteration; none when it failed and that was tolerated.
    Result {
        frame: u32,
        position: u32,
        output: Option<Cell>,
    },
    /// The items and results of a Map or Parallel state that is done or starts over.
    ResultsGone {
        frame: u32,
    },
    Ended {
        status: &'static str,
        output: Option<Cell>,
        error: Option<String>,
        cause: Option<String>,
        at_ms: i64,
    },
}

impl Cell {
    /// `payload` as a column of `execution`; pushes the row it needs, if it needs one. `next` hands out numbers.
    pub(crate) fn of(payload: &Payload, writes: &mut Vec<Write>, next: &mut u32) -> Self {
        if payload.text().len() <= INLINE_BYTES {
            return Self::Text(payload.clone());
        }
        let (row, new) = payload.row(|| {
            *next += 1;
            *next
        });
        if new {
            writes.push(Write::Payload { row, payload: payload.clone() });
        }
        Self::Row(row)
    }

    fn sql(&self, execution: i64) -> SqlCell<'_> {
        match self {
            Self::Text(payload) => SqlCell::Text(payload.text()),
            Self::Row(row) => SqlCell::Key(key(execution, u64::from(*row))),
        }
    }
}

enum SqlCell<'a> {
    Text(&'a str),
    Key(i64),
}

impl ToSql for SqlCell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Key(key) => ToSqlOutput::Owned(SqlValue::Integer(*key)),
        })
    }
}

/// Writes one step of `execution`.
pub(crate) fn apply(tx: &Transaction<'_>, execution: i64, writes: &[Write]) -> rusqlite::Result<()> {
    let key = |number: u32| self::key(execution, u64::from(number));
    for write in writes {
        match write {
            Write::Payload { row, payload } => {
                tx.prepare_cached("insert into sfn_payload (id, json) values (?1, ?2)")?
                    .execute(params![key(*row), payload.text()])?;
            }
            Write::Event { event, payload } => {
                tx.prepare_cached(
                    "insert into sfn_event (id, previous, at_ms, type, details, payload)
                     values (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    self::key(execution, event.id),
                    i64::try_from(event.previous).unwrap_or_default(),
                    event.at_ms,
                    event.kind,
                    serde_json::to_string(&event.details.fields).unwrap_or_default(),
                    payload.as_ref().map(|cell| cell.sql(execution)),
                ])?;
            }
            Write::Frame { frame, parent, position, body, input } => {
                tx.prepare_cached(
                    "insert into sfn_frame (id, parent, position, body, input) values (?1, ?2, ?3, ?4, ?5)
                     on conflict (id) do update set body = excluded.body, input = excluded.input",
                )?
                .execute(params![
                    key(*frame),
                    parent.map(key),
                    position,
                    body,
                    input.sql(execution)
                ])?;
            }
            Write::FrameGone { frame } => {
                for sql in
                    ["delete from sfn_frame where id = ?1", "delete from sfn_variable where frame = ?1"]
                {
                    tx.prepare_cached(sql)?.execute([key(*frame)])?;
                }
                results_gone(tx, key(*frame))?;
            }
            Write::Variable { frame, name, value } => {
                tx.prepare_cached(
                    "insert or replace into sfn_variable (frame, name, value) values (?1, ?2, ?3)",
                )?
                .execute(params![key(*frame), name, value.sql(execution)])?;
            }
            Write::Items { frame, items } => {
                tx.prepare_cached("insert or replace into sfn_items (frame, items) values (?1, ?2)")?
                    .execute(params![key(*frame), items.sql(execution)])?;
            }
            Write::Result { frame, position, output } => {
                tx.prepare_cached(
                    "insert or replace into sfn_result (frame, position, output) values (?1, ?2, ?3)",
                )?
                .execute(params![
                    key(*frame),
                    position,
                    output.as_ref().map(|cell| cell.sql(execution))
                ])?;
            }
            Write::ResultsGone { frame } => results_gone(tx, key(*frame))?,
            Write::Ended { status, output, error, cause, at_ms } => {
                tx.prepare_cached(
                    "update sfn_execution set status = ?2, output = ?3, error = ?4, cause = ?5, stopped_ms = ?6
                     where id = ?1",
                )?
                .execute(params![
                    execution,
                    status,
                    output.as_ref().map(|cell| cell.sql(execution)),
                    error,
                    cause,
                    at_ms
                ])?;
            }
        }
    }
    Ok(())
}

fn results_gone(tx: &Transaction<'_>, frame: i64) -> rusqlite::Result<()> {
    for sql in ["delete from sfn_items where frame = ?1", "delete from sfn_result where frame = ?1"] {
        tx.prepare_cached(sql)?.execute([frame])?;
    }
    Ok(())
}

/// The text of a document column, wherever it is.
pub(crate) fn text(connection: &Connection, cell: ValueRef<'_>) -> rusqlite::Result<Option<String>> {
    Ok(match cell {
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Integer(key) => connection
            .prepare_cached("select json from sfn_payload where id = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?,
        _ => None,
    })
}

/// The document of a column, shared with every other column that refers to the same row of `known`.
pub(crate) fn payload(
    connection: &Connection,
    cell: ValueRef<'_>,
    known: &mut std::collections::HashMap<i64, Payload>,
) -> rusqlite::Result<Option<Payload>> {
    let broken = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    if let ValueRef::Integer(key) = cell
        && let Some(payload) = known.get(&key)
    {
        return Ok(Some(payload.clone()));
    }
    let Some(text) = text(connection, cell)? else { return Ok(None) };
    Ok(Some(match cell {
        ValueRef::Integer(key) => {
            let row = u32::try_from(number(key)).unwrap_or_default();
            let payload = Payload::stored(&text, row).map_err(broken)?;
            known.insert(key, payload.clone());
            payload
        }
        _ => Payload::parse(&text).map_err(broken)?,
    }))
}
