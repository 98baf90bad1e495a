//! The agent's disk is full while scripts run: they end with their true codes, new jobs are refused in words, and once
//! there is space again all is as before, without a restart.
//!
//! The disk is a small tmpfs. Mounting one takes root; where this is not root, the story is told again in a user and
//! mount namespace of its own, and where that is not allowed either it is left out.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rsqlflow_tests::daemon::{self, Daemon};
use rsqlflow_tests::site::{Site, run};
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::{Value, json};

/// Set in the namespace.
const INSIDE: &str = "RSQLFLOW_TESTS_NAMESPACE";

/// A tmpfs that ends with its test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=16m,mode=0750", "rsqlflow-test"];
        let mounted = run(Command::new("mount").args(mount).arg(&at));
        (mounted.code == 0).then_some(Self(at))
    }

    /// Takes all space there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file of it open keeps nobody waiting.
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Tells the story again where mounting is allowed; whether that could be done.
fn again_in_a_namespace() -> bool {
    let unshare = ["--user", "--map-root-user", "--mount"];
    if run(Command::new("unshare").args(unshare).arg("true")).code != 0 {
        return false;
    }
    let story = "disk_full::a_full_disk_loses_nothing";
    let mut test = Command::new("unshare");
    test.args(unshare).arg(std::env::current_exe().unwrap()).args([story, "--exact", "--nocapture"]);
    let ran = test.env(INSIDE, "1").stdin(Stdio::null()).status().expect("unshare starts");
    assert!(ran.success(), "in a namespace of its own: {ran}");
    true
}

#[test]
fn a_full_disk_loses_nothing() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(site.path("agent")) else {
        if std::env::var_os(INSIDE).is_some() || !again_in_a_namespace() {
            eprintln!("left out: neither this user nor a namespace may mount a tmpfs");
        }
        return;
    };
    site.settings(&format!(
        "heartbeat_seconds = 60\n[agent]\nmin_free_mib = 2\n[local]\nagent_socket = \"{}\"\n",
        daemon::socket(&site).display()
    ));
    // What it prints while the disk is full is lost, and it knows; how it ends is its own affair.
    site.script(
        "wait.sh",
        "#!/bin/bash\necho before\ntouch $JOB_NAME.started\nuntil [ -e go ]; do sleep 0.05; done\necho after 2>/dev/null\nexit $3\n",
    );
    site.script("quick.sh", "#!/bin/sh\necho quick\n");
    let script = |name: &str, code: u8| json!({"script": "wait.sh", "job_name": name, "arguments": [code.to_string()], "success_exit_codes": [0, 42]});
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "parallel", "execution_flag": "y", "scripts": [script("good", 42), script("bad", 9)]}]}));
    site.put(&json!({"workflow_id": "quick", "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": ["quick.sh"]}]}));
    let up = Up::start(&site);
    let mut daemon = Daemon::start(&site, &up.endpoint());
    site.rsqlflow(&["run", "w", "--id", "in-flight"]).expect(0);
    for name in ["good", "bad"] {
        wait_for("the scripts to start", || {
            site.path(&format!("scripts/{name}.started")).exists().then_some(())
        });
    }

    let ballast = disk.fill();
    let refused = site.rsqlflow(&["run", "quick", "--id", "refused", "--wait"]).expect(1);
    assert!(refused.stderr.contains("free some space"), "{}", refused.stderr);
    let status = site.status("refused");
    assert_eq!(status["jobs"][0]["error"], "Rsql.HostUnavailable", "{status}");

    site.file("scripts/go", "");
    let status = ended(&site, "in-flight");
    assert_eq!(status["execution_status"], "failed", "{status}");
    for (name, status_of_job, code) in [("good", "completed", 42), ("bad", "failed", 9)] {
        let job = wait_for("the true outcome", || {
            let status = site.status("in-flight");
            let job = status["jobs"].as_array()?.iter().find(|job| job["job_name"] == name)?.clone();
            (job["exit_code"] == code).then_some(job)
        });
        assert_eq!(job["execution_status"], status_of_job, "{job}");
    }
    let still_full = site.rsqlflow(&["run", "quick", "--id", "refused-too", "--wait"]).expect(1);
    assert!(still_full.stderr.contains("free some space"), "{}", still_full.stderr);

    std::fs::remove_file(&ballast).unwrap();
    site.rsqlflow(&["run", "quick", "--id", "again", "--wait"]).expect(0);
    wait_for("every job to be settled", || daemon.jobs().is_empty().then_some(()));
    assert_eq!(up.endpoint().log_stream("again/quick.sh/1").unwrap_or_default(), ["quick"]);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.stop();
    // What was settled on the full disk stays settled: the next daemon has nothing to take up.
    daemon.restart();
    daemon.wait_until_it_listens();
    assert_eq!(daemon.jobs(), Vec::<Value>::new());
    daemon.stop();
    up.stop();
}

fn ended(site: &Site, run: &str) -> Value {
    wait_for("the run to end", || {
        let status = site.status(run);
        (!["triggered", "running"].contains(&status["execution_status"].as_str()?)).then_some(status)
    })
}
