//! The weather: a daemon that is killed at random instants, and a way to AWS that fails.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rsqlflow_tests::daemon::{self, Daemon};
use rsqlflow_tests::processes::Process;
use rsqlflow_tests::proxy::Proxy;
use rsqlflow_tests::proxy::faults::Faults;
use rsqlflow_tests::random::{self, Random};
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use rustix::process::{Pid, Signal, kill_process};

use super::readonly::ReadOnly;
use super::torn::Journal;
use super::{night, proof};

/// What a night has to stand.
pub(super) struct Storm {
    /// Jobs of a run.
    pub(super) jobs: usize,
    /// Kills in all; as many runs follow one another as they take.
    pub(super) kills: usize,
    /// Longest life of a daemon between two kills.
    pub(super) life: Duration,
    /// What happens to the daemon's calls.
    pub(super) faults: Faults,
    /// An outage in the first run.
    pub(super) outage: Option<Duration>,
    /// Whether what the daemon relies on is torn, stopped and taken away.
    pub(super) misdeeds: bool,
}

/// Names the file with the milliseconds that the clock of `up` and the daemon is ahead.
const CLOCK: &str = "TEST_CLOCK_OFFSET_FILE";

/// How far it may be off, in milliseconds: more than a heartbeat's time, less than what signatures may be off by.
const CLOCK_MAX: u64 = 200_000;

/// How long a run may take.
const NIGHT: Duration = Duration::from_secs(280);

/// Runs nights until the kills are done, and proves each.
pub(super) fn weather(storm: &Storm) {
    let seed = random::seed();
    let _told = random::Told(seed);
    let mut random = Random::new(seed);
    let site = Site::new();
    // A job survives an outage for as long as its task's patience lasts.
    let heartbeat = 30 + 2 * storm.outage.unwrap_or_default().as_secs();
    site.settings(&format!(
        "heartbeat_seconds = {heartbeat}\n[agent]\ngrace_seconds = 1\n[agent.secrets]\n\"*\" = [\"*\"]\n[local]\n\
         agent_socket = \"{}\"\n{}",
        daemon::socket(&site).display(),
        night::secret()
    ));
    // Behind a failing network, and where the disk takes no note of a hand-out, an answer without a password is a true one.
    let ask = storm.outage.is_none() && !storm.misdeeds;
    let jobs = night::draw(storm.jobs, ask, &mut random);
    night::prepare(&site, "night", &jobs);
    let clock = site.file("clock", "0");
    let up = Up::start_in(&site, &[], &[(CLOCK, &clock)]);
    let endpoint = up.endpoint();
    let mut kills = 0;
    let mut misdeeds = storm.misdeeds.then(|| Misdeeds::on(&site));
    for round in 1.. {
        night::begin(&site);
        let proxy = Proxy::start(&endpoint.url, storm.faults, random.draw());
        let environment = vec![(CLOCK, clock.display().to_string())];
        let mut daemon = Daemon::start_in(&site, &endpoint.at(&proxy.url()), environment);
        let id = format!("night-{round}");
        let mut run = wait_in_the_background(&site, &id);
        let began = Instant::now();
        let mut outage = storm.outage.filter(|_| round == 1);
        while running(&mut run) {
            assert!(
                began.elapsed() < NIGHT + storm.outage.unwrap_or_default(),
                "{id} does not end\n{}",
                daemon.log()
            );
            if let Some(time) = outage.take_if(|_| began.elapsed() > Duration::from_secs(2)) {
                proxy.outage(true);
                kills += kill(&mut daemon, &mut random, storm.life);
                std::thread::park_timeout(time);
                proxy.outage(false);
                // The pauses between tries have grown in the outage; a new daemon begins anew.
                kills += kill(&mut daemon, &mut random, Duration::ZERO);
            } else if kills < storm.kills {
                kills += match &mut misdeeds {
                    Some(misdeeds) => misdeeds.kill(&mut daemon, &mut random, storm.life),
                    None => kill(&mut daemon, &mut random, storm.life),
                };
            } else {
                std::thread::park_timeout(Duration::from_millis(50));
            }
        }
        daemon.wait_until_it_listens();
        // What is still to be told is told, however long the pauses have grown.
        proxy.set_faults(Faults::none());
        wait_for("every job to be settled", || daemon.jobs().is_empty().then_some(()));
        proof::of_run(&site, &endpoint, &id, &jobs, &proxy.book());
        proof::of_places(&site, &up, &daemon, &proxy.book());
        daemon.kill_9();
        daemon.restart();
        daemon.wait_until_it_listens();
        proof::of_the_disk(&site.path("agent"), &proxy.book());
        eprintln!("{id}: {kills} kills, {:?}, {:?}", began.elapsed(), proxy.tally());
        if storm.faults.cut > 0 {
            let tally = proxy.tally();
            assert!(
                tally.throttled.min(tally.failed).min(tally.cut).min(tally.twice).min(tally.delayed) > 0,
                "{tally:?}"
            );
        }
        daemon.stop();
        if kills >= storm.kills {
            break;
        }
    }
    if let Some(misdeeds) = misdeeds {
        eprintln!("{:?}", misdeeds.done);
    }
    up.stop();
    let left = site.processes(&[]);
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Lets the daemon live for a while, kills it and starts it again. Now and then the next one is killed before it
/// listens.
fn kill(daemon: &mut Daemon<'_>, random: &mut Random, life: Duration) -> usize {
    let early = random.percent(20);
    if !early {
        daemon.wait_until_it_listens();
    }
    let most = u64::try_from(life.as_millis()).unwrap() / if early { 10 } else { 1 };
    std::thread::park_timeout(Duration::from_millis(random.between(0, most)));
    daemon.kill_9();
    daemon.restart();
    1
}

/// What is done to the daemon besides killing it.
struct Misdeeds<'a> {
    site: &'a Site,
    journal: Journal,
    /// How often what was done.
    done: BTreeMap<String, usize>,
}

impl<'a> Misdeeds<'a> {
    fn on(site: &'a Site) -> Self {
        Self { site, journal: Journal::of(&site.path("agent")), done: BTreeMap::new() }
    }

    fn kill(&mut self, daemon: &mut Daemon<'_>, random: &mut Random, life: Duration) -> usize {
        let done = match random.between(0, 11) {
            0 | 1 => self.be_read_only(daemon, random),
            2 => self.take_the_journal_away(daemon),
            3 | 4 => self.stop_a_supervisor(),
            5 | 6 => self.set_the_clock(random),
            7..=10 => {
                daemon.wait_until_it_listens();
                let most = u64::try_from(life.as_millis()).unwrap();
                std::thread::park_timeout(Duration::from_millis(random.between(0, most)));
                daemon.kill_9();
                let form = self.journal.tear(random);
                daemon.restart();
                *self.done.entry(form).or_default() += 1;
                return 1;
            }
            _ => "none",
        };
        *self.done.entry(done.into()).or_default() += 1;
        kill(daemon, random, life)
    }

    fn be_read_only(&self, daemon: &mut Daemon<'_>, random: &mut Random) -> &'static str {
        daemon.wait_until_it_listens();
        let Some(read_only) = ReadOnly::make(&self.site.path("agent")) else {
            eprintln!("LEFT OUT: this user may not mount, so no file system was read-only");
            return "not allowed to mount";
        };
        std::thread::park_timeout(Duration::from_millis(random.between(100, 1500)));
        drop(read_only);
        "read-only"
    }

    /// The daemon notices, ends, and is started again as by its service manager.
    fn take_the_journal_away(&self, daemon: &mut Daemon<'_>) -> &'static str {
        daemon.wait_until_it_listens();
        std::fs::remove_file(self.journal.file()).unwrap();
        daemon.wait_until_it_fails();
        daemon.restart();
        "journal removed"
    }

    /// Forward and back.
    fn set_the_clock(&self, random: &mut Random) -> &'static str {
        let ahead = self.site.file("clock.new", &random.between(0, CLOCK_MAX).to_string());
        std::fs::rename(ahead, self.site.path("clock")).unwrap();
        "clock set"
    }

    /// One whose script runs, if there is any.
    fn stop_a_supervisor(&self) -> &'static str {
        // Nothing of it names the site, but it is the parent of a process that does.
        let supervisor = |process: &Process| -> Option<Pid> {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
            let parent: i32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
            name.starts_with("rsqlflow-superv").then(|| Pid::from_raw(parent))?
        };
        let Some(pid) = self.site.processes(&[]).iter().find_map(supervisor) else {
            return "no supervisor to stop";
        };
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::STOP);
        "supervisor stopped"
    }
}

fn wait_in_the_background(site: &Site, id: &str) -> Child {
    let mut command = site.command(&["run", "night", "--id", id, "--wait"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("rsqlflow runs")
}

/// Whether the command that waits for the run still does; it ends with 1, because some jobs fail.
fn running(run: &mut Child) -> bool {
    match run.try_wait().expect("it is ours to wait for") {
        None => true,
        Some(status) => {
            assert_eq!(status.code(), Some(1), "the run fails, because some jobs do");
            false
        }
    }
}
