//! The journal is torn, lost or replaced: every job is taken up from its own files.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::world::{Told, World, is_alive, pids, told, until};

/// A script that says that it runs, prints, and ends with a code once it is let go.
fn patient(world: &World, name: &str, code: u8) -> PathBuf {
    let dir = world.dir.path().display();
    world.script(
        name,
        &format!(
            "echo $JOB_NAME >> {dir}/ran; echo $JOB_NAME before; echo $$ > {dir}/{name}.new\n\
             mv {dir}/{name}.new {dir}/{name}.pid; while ! [ -e {dir}/{name}.go ]; do sleep 0.01; done\n\
             echo $JOB_NAME after; exit {code}"
        ),
    );
    world.dir.path().join(format!("{name}.pid"))
}

fn let_go(world: &World, name: &str) {
    std::fs::write(world.dir.path().join(format!("{name}.go")), "").unwrap();
}

/// Waits until the agent that was dropped has let go of its journal.
async fn closed(journal: &Path) {
    let is_open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file == journal)
    };
    until("the journal to be closed", || (!is_open()).then_some(())).await;
}

async fn submit(world: &World, name: &str) -> String {
    let mut request = world.request(name);
    request.task_token.push_str(name);
    world.submit(&request).await.job_id
}

/// What was reported, by job: its error and its exit code.
fn reports(world: &World) -> Vec<(String, Option<String>, Option<i32>)> {
    let mut all: Vec<_> = told(&world.aws)
        .into_iter()
        .map(|told| match told {
            Told::Success(success) => (success.job_name, None, Some(success.exit_code)),
            Told::Failure(error, failure) => (failure.job_name, Some(error), failure.exit_code),
        })
        .collect();
    all.sort();
    all
}

/// What is done to the journal: its file, a copy of it as it was while the agent lived, an older copy, a job's id.
struct Torn<'a> {
    journal: &'a Path,
    live: &'a Path,
    old: &'a Path,
    job_id: &'a str,
}

impl Torn<'_> {
    fn log(&self) -> PathBuf {
        self.journal.with_extension("db-wal")
    }

    fn execute(&self, sql: &str) {
        Connection::open(self.journal).unwrap().execute(sql, [self.job_id]).unwrap();
    }
}

type Form = (&'static str, fn(&Torn<'_>));

const FORMS: [Form; 13] = [
    ("untouched", |_| {}),
    ("empty", |torn| std::fs::write(torn.journal, "").unwrap()),
    ("missing", |torn| std::fs::remove_file(torn.journal).unwrap()),
    ("without the end of its log", |torn| {
        std::fs::copy(torn.live, torn.journal).unwrap();
    }),
    ("with garbage in its log", |torn| {
        std::fs::copy(torn.live, torn.journal).unwrap();
        std::fs::write(torn.log(), [0xa5; 2000]).unwrap();
    }),
    ("with a torn header", |torn| {
        let file = std::fs::File::options().write(true).open(torn.journal).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 50], 0).unwrap();
    }),
    ("cut after fifty bytes", |torn| {
        std::fs::File::options().write(true).open(torn.journal).unwrap().set_len(50).unwrap();
    }),
    ("an older copy", |torn| {
        std::fs::copy(torn.old, torn.journal).unwrap();
    }),
    ("a directory", |torn| {
        std::fs::remove_file(torn.journal).unwrap();
        std::fs::create_dir(torn.journal).unwrap();
    }),
    ("a request that does not parse", |torn| {
        torn.execute("update jobs set request = '{\"version\":1,' where job_id = ?1");
    }),
    ("values of other kinds", |torn| {
        torn.execute("update jobs set request = x'00', outcome = 'x', callback_done = 'y' where job_id = ?1");
        torn.execute("update attempts set ended = 'x', started_at = x'00' where job_id = ?1");
    }),
    ("an index that knows none of its rows", |torn| {
        let journal = Connection::open(torn.journal).unwrap();
        let empty = "settled_at is null and job_id < ''";
        journal
            .execute_batch(&format!(
                "create index unsettled on jobs (job_id) where {empty}; \
                 pragma writable_schema = on; \
                 update sqlite_schema set sql = replace(sql, \"{empty}\", 'settled_at is null') where name = 'unsettled'"
            ))
            .unwrap();
    }),
    ("another program's tables", |torn| {
        std::fs::remove_file(torn.journal).unwrap();
        let other = Connection::open(torn.journal).unwrap();
        other.execute_batch("create table jobs (id integer, settled_at text, job_id text)").unwrap();
    }),
];

#[tokio::test]
async fn whatever_became_of_the_journal_every_job_is_reported_once_as_it_ended() {
    for (form, tear) in FORMS {
        let mut world = World::new().await;
        let journal = world.config.data_dir.join("journal.db");
        let (old, live) = (world.dir.path().join("old.db"), world.dir.path().join("live.db"));
        // One is settled, one runs, and one ends while no agent is there.
        pids(&patient_submitted(&world, "settled.sh", 0).await.0, 1).await;
        let copy = format!("vacuum into '{}'", old.display());
        Connection::open(&journal).unwrap().execute_batch(&copy).unwrap();
        let_go(&world, "settled.sh");
        world.settled().await;
        let (seen, job_id) = patient_submitted(&world, "runs.sh", 7).await;
        pids(&seen, 1).await;
        let (seen, _) = patient_submitted(&world, "ends.sh", 3).await;
        let ends = pids(&seen, 1).await[0];
        world.aws.wait("their output", |aws| (aws.events().len() == 4).then_some(())).await;
        std::fs::copy(&journal, &live).unwrap();
        world.kill();
        closed(&journal).await;
        let_go(&world, "ends.sh");
        until("the script's end", || (!is_alive(ends)).then_some(())).await;
        tear(&Torn { journal: &journal, live: &live, old: &old, job_id: &job_id });

        world.start().await;
        let_go(&world, "runs.sh");
        world.settled().await;
        let code = |error: &str, code| (Some(error.to_owned()), Some(code));
        let (ended, ran) = (code("Rsql.ExitCode", 3), code("Rsql.ExitCode", 7));
        assert_eq!(
            reports(&world),
            [
                ("ends.sh".to_owned(), ended.0, ended.1),
                ("runs.sh".to_owned(), ran.0, ran.1),
                ("settled.sh".to_owned(), None, Some(0))
            ],
            "{form}"
        );
        let mut lines = std::fs::read_to_string(world.dir.path().join("ran")).unwrap();
        assert_eq!(lines, "settled.sh\nruns.sh\nends.sh\n", "{form}: each ran once");
        let mut events = world.events();
        events.sort();
        lines = events.join(", ");
        assert_eq!(
            lines,
            "ends.sh after, ends.sh before, runs.sh after, runs.sh before, settled.sh after, settled.sh before",
            "{form}"
        );
        // The next agent has nothing to do.
        world.shutdown().await;
        world.start().await;
        assert!(world.agent().jobs().await.is_empty(), "{form}");
    }
}

async fn patient_submitted(world: &World, name: &str, code: u8) -> (PathBuf, String) {
    let seen = patient(world, name, code);
    (seen, submit(world, name).await)
}

/// A script runs, its agent is killed, and something is done to the job; then the next agent starts.
async fn after(tear: impl Fn(&Path, &Path, &str)) -> (World, u32) {
    let mut world = World::new().await;
    let (seen, job_id) = patient_submitted(&world, "runs.sh", 7).await;
    let pid = pids(&seen, 1).await[0];
    world.kill();
    tear(
        &world.config.data_dir.join("journal.db"),
        &world.config.data_dir.join("jobs").join(&job_id),
        &job_id,
    );
    world.start().await;
    (world, pid)
}

#[tokio::test]
async fn a_row_and_a_file_that_cannot_be_read_cost_their_job_a_clear_failure_and_not_the_host() {
    let cut = |path: &Path, length| {
        let text = std::fs::read(path).unwrap();
        std::fs::write(path, &text[..length]).unwrap();
    };
    // What is left of the one or of the other still holds the token.
    let (by_row, first) = after(|journal, directory, job_id| {
        std::fs::remove_file(directory.join("job.json")).unwrap();
        let sql = "update jobs set request = substr(request, 1, length(request) - 10) where job_id = ?1";
        Connection::open(journal).unwrap().execute(sql, [job_id]).unwrap();
    })
    .await;
    let (by_file, second) = after(|journal, directory, _| {
        std::fs::remove_file(journal).unwrap();
        let path = directory.join("job.json");
        cut(&path, usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap() - 20);
    })
    .await;
    for (world, pid, what) in [(by_row, first, "its row in the journal"), (by_file, second, "job.json")] {
        let Told::Failure(error, failure) = world.told().await else { panic!("succeeded") };
        assert_eq!((error.as_str(), failure.job_name.as_str()), ("Rsql.HostLost", "runs.sh"));
        assert!(failure.message.contains(what), "{}", failure.message);
        assert!(!failure.message.contains("token-of-the-task"), "{}", failure.message);
        // Nobody could be told how it ends.
        until("the script's end", || (!is_alive(pid)).then_some(())).await;
        assert!(world.agent().jobs().await.is_empty());
        // Its command comes again, and its script has run.
        assert!(world.submit(&named(&world, "runs.sh")).await.duplicate);
        // And the host works.
        world.script("next.sh", "exit 0");
        submit(&world, "next.sh").await;
        world.settled().await;
        assert_eq!(reports(&world).len(), 2);
    }
}

fn named(world: &World, name: &str) -> rsqlflow_config::job::JobRequest {
    let mut request = world.request(name);
    request.task_token.push_str(name);
    request
}

#[tokio::test]
async fn a_job_without_any_name_left_is_ended_and_told_by_its_silence() {
    let (world, pid) = after(|journal, directory, _| {
        std::fs::remove_file(journal).unwrap();
        std::fs::write(directory.join("job.json"), "nothing").unwrap();
    })
    .await;
    until("the script's end", || (!is_alive(pid)).then_some(())).await;
    assert!(world.agent().jobs().await.is_empty());
    assert!(told(&world.aws).is_empty());
}

#[tokio::test]
async fn an_agent_serves_while_the_script_of_a_lost_job_is_still_being_ended() {
    let mut world = World::stopped();
    world.config.grace = std::time::Duration::from_secs(3600);
    world.start().await;
    let seen = world.dir.path().join("pid");
    world.script(
        "runs.sh",
        &format!(
            "trap '' TERM\necho $$ > {0}.new\nmv {0}.new {0}\nwhile [ -e {0} ]; do sleep 0.01; done",
            seen.display()
        ),
    );
    let job_id = submit(&world, "runs.sh").await;
    let pid = pids(&seen, 1).await[0];
    world.kill();
    let directory = world.config.data_dir.join("jobs").join(job_id);
    std::fs::remove_file(world.config.data_dir.join("journal.db")).unwrap();
    std::fs::write(directory.join("job.json"), "nothing").unwrap();

    let started = tokio::time::timeout(crate::fake_aws::DEADLINE, world.start()).await;
    started.expect("it does not wait for the script");
    assert!(world.submit(&named(&world, "runs.sh")).await.duplicate, "its script has run");
    assert!(is_alive(pid), "it has an hour");
    std::fs::remove_file(&seen).unwrap();
    until("its files to be removed", || (!directory.join("1.run").exists()).then_some(())).await;
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn the_file_of_another_job_is_not_taken_for_a_job() {
    let (world, pid) = after(|_, directory, _| {
        let copy = directory.with_file_name("0123456789abcdef0123456789abcdef");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(directory.join("job.json"), copy.join("job.json")).unwrap();
    })
    .await;
    assert!(is_alive(pid));
    assert_eq!(world.agent().jobs().await.len(), 1);
    let_go(&world, "runs.sh");
    world.settled().await;
    assert_eq!(reports(&world), [("runs.sh".into(), Some("Rsql.ExitCode".into()), Some(7))]);
}

#[tokio::test]
async fn a_journal_that_goes_away_under_its_agent_is_noticed_and_no_job_is_lost() {
    type Way = fn(&Path);
    let ways: [(&str, Way); 3] = [
        ("removed", |journal| std::fs::remove_file(journal).unwrap()),
        ("replaced", |journal| {
            let other = journal.with_extension("other");
            std::fs::write(&other, "").unwrap();
            std::fs::rename(other, journal).unwrap();
        }),
        ("without its log", |journal| std::fs::remove_file(journal.with_extension("db-wal")).unwrap()),
    ];
    for (way, go_away) in ways {
        for with_work in [true, false] {
            let mut world = World::new().await;
            let (seen, _) = patient_submitted(&world, "runs.sh", 7).await;
            pids(&seen, 1).await;
            go_away(&world.config.data_dir.join("journal.db"));
            patient(&world, "late.sh", 0);
            if with_work {
                // What cannot be kept is not taken, and not refused either: it is brought to the next agent.
                let late = world.agent().submit(&named(&world, "late.sh").encode(), None).await;
                assert!(late.unwrap_err().to_string().contains("send the command again"), "{way}");
            }
            let noticed = tokio::time::timeout(crate::fake_aws::DEADLINE, world.agent().failed()).await;
            assert!(noticed.expect("it is noticed").contains("removed or replaced"), "{way}");
            assert!(told(&world.aws).is_empty(), "{way}");
            world.kill();
            world.start().await;
            submit(&world, "late.sh").await;
            let_go(&world, "runs.sh");
            let_go(&world, "late.sh");
            world.settled().await;
            assert_eq!(
                reports(&world),
                [
                    ("late.sh".into(), None, Some(0)),
                    ("runs.sh".into(), Some("Rsql.ExitCode".into()), Some(7))
                ],
                "{way}"
            );
        }
    }
}
