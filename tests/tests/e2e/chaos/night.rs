//! The workload: jobs of every kind of end, each of which is known before it starts.
//!
//! A script appends a line to a file of its own attempt when it starts, so a second start of the same attempt would
//! show; then it prints numbered lines over its time and ends with the code that its attempt is given. Some ask for
//! credentials after every fifth line, whether there is a daemon at that moment or not.

use rsqlflow_tests::random::Random;
use rsqlflow_tests::site::Site;
use serde_json::{Value, json};

/// The secret that scripts ask for, and its password.
const SECRET: (&str, &str) = ("warehouse", "hunter2-of-the-night");

/// `$3` lines, `$4` seconds between them, `$5` whether it asks for credentials, then the exit code of each attempt.
const SCRIPT: &str = r#"#!/bin/bash
echo "$$" >> starts/"$JOB_NAME.$ATTEMPT"
for ((i = 1; i <= $3; i++)); do
    if ((i % 5)); then
        echo "$JOB_NAME attempt $ATTEMPT line $i of $3"
    else
        echo "$JOB_NAME attempt $ATTEMPT line $i of $3, é and more, on standard error" >&2
        if [ "$5" = asks ]; then
            . "$1/get_redshift_creds.sh" "$2" 2>/dev/null
            [ "$PASSWORD" = hunter2-of-the-night ] || exit 96
        fi
    fi
    sleep "$4"
done
shift 5
codes=("$@")
exit "${codes[ATTEMPT - 1]}"
"#;

/// A job whose end is known.
pub(super) struct Job {
    pub(super) name: String,
    lines: u64,
    pause: &'static str,
    asks: bool,
    /// Exit code of each attempt it may make.
    codes: Vec<u64>,
    success: Vec<u64>,
    /// The stage it is in, from 0.
    stage: usize,
}

/// What one attempt does.
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) code: u64,
    pub(super) output: Vec<String>,
}

impl Job {
    /// The attempts it makes, in order.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        let good = self.codes.iter().position(|code| self.success.contains(code));
        let made = good.map_or(self.codes.len(), |at| at + 1);
        (1..).zip(&self.codes[..made]).map(|(number, code)| self.attempt(number, *code)).collect()
    }

    fn attempt(&self, number: u64, code: u64) -> Attempt {
        let line = |i| {
            let more = if i % 5 == 0 { ", é and more, on standard error" } else { "" };
            format!("{} attempt {number} line {i} of {}{more}", self.name, self.lines)
        };
        Attempt { number, code, output: (1..=self.lines).map(line).collect() }
    }

    /// Whether it ends well.
    pub(super) fn completes(&self) -> bool {
        self.codes.iter().any(|code| self.success.contains(code))
    }

    fn item(&self) -> Value {
        let asks = if self.asks { "asks" } else { "does-not-ask" };
        let mut arguments = vec![self.lines.to_string(), self.pause.to_owned(), asks.to_owned()];
        arguments.extend(self.codes.iter().map(ToString::to_string));
        json!({
            "script": "job.sh", "job_name": self.name, "arguments": arguments,
            "success_exit_codes": self.success,
            "retry": {"max_attempts": self.codes.len(), "interval_seconds": 1, "backoff_rate": 1},
        })
    }
}

/// Most jobs of a stage that run at once.
const CONCURRENCY: usize = 8;

/// Draws the jobs: of ten, six end with 0, two with a code that means success, one needs a second attempt, one fails
/// for good. They last from 0.2 to 2 seconds. `ask`: whether some ask for credentials.
pub(super) fn draw(jobs: usize, ask: bool, random: &mut Random) -> Vec<Job> {
    (0..jobs)
        .map(|at| {
            let (codes, success) = match at % 10 {
                3 => (vec![7], vec![0, 7]),
                5 => (vec![255], vec![3, 255]),
                7 => (vec![1, 0], vec![0]),
                9 => (vec![random.between(1, 99), random.between(100, 254)], vec![0]),
                _ => (vec![0], vec![0]),
            };
            let asks = ask && at % 4 == 0;
            let (lines, pause) = if !asks && random.percent(20) {
                // Hardly longer than its own start; many lines at once.
                (random.between(1, 400), "0")
            } else {
                (random.between(2, 20), "0.1")
            };
            // Many at once first; then a few, of which each may be hit while it is the only one.
            let stage = usize::from(at >= jobs - jobs / 10);
            Job { name: format!("job-{at:02}"), lines, pause, asks, codes, success, stage }
        })
        .collect()
}

/// The settings of the secret.
pub(super) fn secret() -> String {
    let (id, password) = SECRET;
    format!(
        "[local.secrets.{id}]\nhost = \"127.0.0.1\"\nport = 5439\nusername = \"etl\"\npassword = \"{password}\"\n\
         dbname = \"dev\"\n"
    )
}

/// Writes the script and stores the workflow.
pub(super) fn prepare(site: &Site, workflow: &str, jobs: &[Job]) {
    site.script("job.sh", SCRIPT);
    let stage = |number: usize| -> Value {
        let items: Vec<Value> = jobs.iter().filter(|job| job.stage == number).map(Job::item).collect();
        json!({"execution_type": "parallel", "execution_flag": "y", "on_failure": "continue",
               "max_concurrency": CONCURRENCY, "scripts": items})
    };
    site.put(
        &json!({"workflow_id": workflow, "secret_id": SECRET.0, "workflow_stages": [stage(0), stage(1)]}),
    );
}

/// Makes room for what the scripts of the next run leave.
pub(super) fn begin(site: &Site) {
    let starts = site.path("scripts/starts");
    // There is none before the first.
    let _ = std::fs::remove_dir_all(&starts);
    std::fs::create_dir(starts).unwrap();
}
