//! Another log shipper on the same way: syslog-ng, from the same file into the same sink, in calls of the same shape.
//!
//! It is what distributions have that reads a file, makes JSON and sends it over HTTP in batches (packages syslog-ng-core
//! and syslog-ng-mod-http); Vector and fluent-bit are not among Debian's packages. It is set up to be quick: one worker,
//! batches as large as the service takes them. It signs nothing, keeps no journal of what is on its way and asks no
//! service whether it has it, so it does less than the agent.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::proc;
use crate::sink::Sink;

/// Seconds from its start to the last line in the sink, and its CPU time. Nothing where it is not installed.
pub(crate) fn ship(dir: &Path, sink: &Sink, file: &Path, lines: usize) -> Result<Option<(f64, f64)>> {
    if Command::new("syslog-ng").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let home = tempfile::tempdir_in(dir)?;
    let at = |name: &str| home.path().join(name);
    let (file, url) = (file.display(), sink.url());
    fs::write(
        at("conf"),
        format!(
            r#"@version: 3.38
options {{ stats-freq(0); log-fifo-size(100000); }};
source from {{ file("{file}" flags(no-parse) log-iw-size(100000) log-fetch-limit(10000)); }};
destination to {{ http(url("{url}/") method("POST") workers(1)
  headers("X-Amz-Target: Logs_20140328.PutLogEvents", "Content-Type: application/x-amz-json-1.1")
  body-prefix('{{"logGroupName":"g","logStreamName":"s","logEvents":[') body-suffix("]}}") delimiter(",")
  body('$(format-json --scope none timestamp=int64(${{R_UNIXTIME}}000) message=$MSG)')
  batch-lines(10000) batch-bytes(1000000) batch-timeout(100)); }};
log {{ source(from); destination(to); flags(flow-control); }};
"#
        ),
    )?;
    sink.take();
    let start = Instant::now();
    let mut child = Command::new("syslog-ng")
        .args(["-F", "--no-caps", "-f"])
        .arg(at("conf"))
        .arg("-R")
        .arg(at("persist"))
        .arg("-c")
        .arg(at("control"))
        .arg("-p")
        .arg(at("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("log"))?)
        .spawn()?;
    let last = sink.wait("syslog-ng's lines", |seen| (seen.events >= lines).then_some(seen.last_put));
    let cpu = proc::cpu_seconds(child.id());
    child.kill()?;
    child.wait()?;
    let last = last.with_context(|| fs::read_to_string(at("log")).unwrap_or_default())?;
    ensure!(sink.take().events == lines, "syslog-ng sent more events than lines");
    Ok(Some((last.context("no lines")?.duration_since(start).as_secs_f64(), cpu?)))
}
