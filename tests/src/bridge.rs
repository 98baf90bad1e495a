//! The SSM agent, played for servers that have none: it takes the commands of one managed node and runs the steps of
//! their documents on this machine, as the agent of an account's host does.
//!
//! What it keeps of the real one: commands are taken five at a time and delivered at least once (on purpose more often,
//! where a test asks for it, and again after everything is over); parameters are put into the step's text as they are;
//! the text becomes `_script.sh` in a directory named after the command and runs by `sh -c`, in a process group of its
//! own; 24,000 characters of its output are kept and 8,000 of its errors; whoever is cancelled or late gets KILL, without
//! TERM. What it does not do: report how the command ended. Neither peer has a way to be told; both call a command they
//! cannot run a success at once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::daemon;
use crate::endpoint::Endpoint;
use crate::peers::NODE;
use crate::site::{Site, binaries};
use crate::wait_for;

/// "CommandWorkersLimit: default 5" (<https://github.com/aws/amazon-ssm-agent#agent-runtime-configuration>).
const WORKERS: usize = 5;
/// "The first 24,000 characters written by the plugin to stdout" and "the first 8,000 characters written by the plugin to
/// stderr" (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetCommandInvocation.html>).
const OUTPUT_LIMITS: (usize, usize) = (24_000, 8_000);
/// "The default is 3600 (1 hour)"
/// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-command-ssm-plugin-reference.html>).
const STEP_TIMEOUT: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_millis(50);

/// How one delivery of a command ended.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The command.
    pub command_id: String,
    /// `Success`, `Failed`, `Cancelled` or `TimedOut`.
    pub status: &'static str,
    /// The exit code of the step; -1 where it was killed.
    pub response_code: i32,
    /// What it printed, as far as it is kept.
    pub stdout: String,
    /// What it printed as errors, as far as they are kept.
    pub stderr: String,
}

/// An SSM agent that ends with its test.
pub struct Bridge {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    endpoint: Endpoint,
    /// Where the agent keeps its documents, as `/var/lib/amazon/ssm` on a host.
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// How often every command is delivered.
    times: usize,
    deliveries: AtomicUsize,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    commands: Vec<Received>,
    running: HashMap<usize, (Pid, Arc<AtomicBool>)>,
    invocations: Vec<Invocation>,
}

#[derive(Debug, Clone)]
struct Received {
    command_id: String,
    /// The text of its step, with the parameters in it.
    script: String,
    timeout: Duration,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bridge {
    /// Starts one that delivers every command of [`NODE`] so many times to the agent of the site.
    pub fn start(site: &Site, endpoint: &Endpoint, times: usize) -> Self {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binaries().display());
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            directory: site.path("ssm").join(NODE).join("document/orchestration"),
            environment: vec![
                ("PATH", path),
                ("RSQLFLOW_AGENT_SOCKET", daemon::socket(site).display().to_string()),
                ("AWS_SSM_INSTANCE_ID", NODE.into()),
            ],
            times,
            deliveries: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let (queue, work) = mpsc::channel();
        let work = Arc::new(Mutex::new(work));
        let mut threads: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (shared, work) = (Arc::clone(&shared), Arc::clone(&work));
                std::thread::spawn(move || {
                    while let Some(command) = next(&work) {
                        deliver(&shared, &command);
                    }
                })
            })
            .collect();
        let poller = Arc::clone(&shared);
        threads.push(std::thread::spawn(move || poll(&poller, &queue)));
        Self { shared, threads }
    }

    /// How every delivery so far has ended.
    pub fn invocations(&self) -> Vec<Invocation> {
        self.shared.state().invocations.clone()
    }

    /// Delivers every command that ever came once more, as an agent does that lost its memory.
    pub fn deliver_again(&self) {
        let commands = self.shared.state().commands.clone();
        for command in commands {
            deliver(&self.shared, &command);
        }
    }

    /// Cancels whatever runs: KILL for the whole process group, at once.
    ///
    /// # Panics
    /// When nothing runs within the deadline.
    pub fn cancel(&self) {
        wait_for("a step to run", || (!self.shared.state().running.is_empty()).then_some(()));
        for (pid, cancelled) in self.shared.state().running.values() {
            cancelled.store(true, Ordering::SeqCst);
            // It may have ended by itself.
            let _ = kill_process_group(*pid, Signal::KILL);
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (pid, _) in self.shared.state().running.values() {
            let _ = kill_process_group(*pid, Signal::KILL);
        }
        for thread in self.threads.drain(..) {
            // One that panicked has said why, and its commands were never run: the test has failed of that.
            let _ = thread.join();
        }
    }
}

fn next(work: &Mutex<mpsc::Receiver<Received>>) -> Option<Received> {
    work.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Asks for commands until the test ends; the queue ends with it.
fn poll(shared: &Shared, queue: &mpsc::Sender<Received>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = aws_sdk_ssm::Client::new(&shared.endpoint.config());
    let mut seen = HashSet::new();
    let mut document = None;
    while !shared.stop.load(Ordering::SeqCst) {
        for (command_id, parameters) in runtime.block_on(commands(&client, &seen)) {
            let document = document.get_or_insert_with(|| runtime.block_on(step(&client)));
            let received = Received {
                script: script(document, &parameters),
                timeout: document.1,
                command_id: command_id.clone(),
            };
            seen.insert(command_id);
            shared.state().commands.push(received.clone());
            for _ in 0..shared.times {
                queue.send(received.clone()).expect("workers outlive the queue");
            }
        }
        std::thread::park_timeout(LOOK);
    }
}

type Parameters = HashMap<String, Vec<String>>;

/// The commands that are new, oldest first.
async fn commands(client: &aws_sdk_ssm::Client, seen: &HashSet<String>) -> Vec<(String, Parameters)> {
    let (mut new, mut token) = (Vec::new(), None);
    loop {
        let ask = client.list_commands().instance_id(NODE).max_results(50).set_next_token(token);
        // A peer that is busy or about to end; the next look tells.
        let Ok(page) = ask.send().await else { return Vec::new() };
        for command in page.commands.unwrap_or_default() {
            let id = command.command_id.unwrap_or_default();
            if !seen.contains(&id) {
                new.push((
                    command.requested_date_time,
                    id,
                    command.parameters.unwrap_or_default().into_iter().collect(),
                ));
            }
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    new.sort_by_key(|(at, ..)| at.map(|at| (at.secs(), at.subsec_nanos())));
    new.into_iter().map(|(_, id, parameters)| (id, parameters)).collect()
}

/// The text of the document's only step, and its limit.
async fn step(client: &aws_sdk_ssm::Client) -> (String, Duration) {
    let document = client.get_document().name("Rsqlflow-RunScript").send().await.expect("the document");
    let content: Value = serde_json::from_str(document.content().expect("its content")).expect("JSON");
    let steps = content["mainSteps"].as_array().expect("steps");
    assert_eq!((steps.len(), &steps[0]["action"]), (1, &"aws:runShellScript".into()), "{content}");
    let inputs = &steps[0]["inputs"];
    let lines: Vec<&str> =
        inputs["runCommand"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    let limit = inputs["timeoutSeconds"].as_str().and_then(|text| text.parse().ok());
    (lines.join("\n"), limit.map_or(STEP_TIMEOUT, Duration::from_secs))
}

/// Parameters are put in as they are, which is why a job request is only letters that mean nothing to a shell.
fn script((text, _): &(String, Duration), parameters: &Parameters) -> String {
    let mut script = text.clone();
    for (name, values) in parameters {
        let value = values.join(" ");
        let harmless = value.chars().all(|c| c.is_ascii_alphanumeric() || "_=-".contains(c));
        assert!(harmless, "the parameter {name} has characters that a shell may take for something");
        script = script.replace(&format!("{{{{ {name} }}}}"), &value);
        script = script.replace(&format!("{{{{{name}}}}}"), &value);
    }
    script
}

/// Runs a command's step to its end.
fn deliver(shared: &Shared, command: &Received) {
    let number = shared.deliveries.fetch_add(1, Ordering::SeqCst);
    if shared.stop.load(Ordering::SeqCst) {
        return;
    }
    let directory = shared.directory.join(&command.command_id).join("submit").join(number.to_string());
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("_script.sh");
    std::fs::write(&path, &command.script).unwrap();
    let mut child = start(shared, &path, &directory);
    let pid = Pid::from_child(&child);
    let cancelled = Arc::new(AtomicBool::new(false));
    shared.state().running.insert(number, (pid, Arc::clone(&cancelled)));
    let deadline = Instant::now() + command.timeout;
    let mut late = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours to wait for") {
            break status;
        }
        if Instant::now() > deadline {
            late = true;
            let _ = kill_process_group(pid, Signal::KILL);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    let kept = |name: &str, limit: usize| -> String {
        let bytes = std::fs::read(directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).chars().take(limit).collect()
    };
    let mut state = shared.state();
    state.running.remove(&number);
    state.invocations.push(Invocation {
        command_id: command.command_id.clone(),
        status: match (late, cancelled.load(Ordering::SeqCst), status.success()) {
            (true, ..) => "TimedOut",
            (_, true, false) => "Cancelled",
            (.., true) => "Success",
            (.., false) => "Failed",
        },
        response_code: status.code().unwrap_or(-1),
        stdout: kept("stdout", OUTPUT_LIMITS.0),
        stderr: kept("stderr", OUTPUT_LIMITS.1),
    });
}

/// A file without an interpreter's line: `sh` reads it itself, and `$0` is its path.
fn start(shared: &Shared, script: &Path, directory: &Path) -> Child {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let output = |name: &str| File::create(directory.join(name)).unwrap();
    let mut step = Command::new("sh");
    step.arg("-c").arg(script).current_dir(directory).env_clear();
    step.envs(shared.environment.iter().map(|(name, value)| (name, value)));
    step.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr"));
    step.process_group(0).spawn().expect("sh starts")
}
