//! The process that stands between the daemon and one attempt of a script.
//!
//! A daemon is restarted, upgraded and killed; a load of six hours must not notice. So the daemon never is the parent
//! of a script: it starts a supervisor, a small program of its own with a session of its own, and the supervisor
//! starts the script, whose output goes straight to a file. The supervisor alone waits for the script, ends it when it
//! takes too long, is silent for too long or is asked to, sweeps whatever the script left running, and writes how it
//! ended into the attempt's [`run_file`]. Whichever daemon is there by then reads it.
//!
//! | part | job |
//! | --- | --- |
//! | [`run_file`] | what daemon and supervisor tell each other: one locked file an attempt |
//! | [`supervise`] | the supervisor's life |
//! | [`tree`] | all processes of an attempt, and the ladder that ends them |
//! | [`process`] | which process is meant |
//! | [`cgroup`] | a control group an attempt, where the host lets us have one |
//! | `oom` | whom the kernel ends first when memory runs out |
//!
//! It has no threads, no runtime and no network. It is a child subreaper, so a descendant that leaves its process
//! group, its session or its parent still is the supervisor's to end.

pub mod cgroup;
mod oom;
pub mod process;
pub mod run_file;
pub mod supervise;
pub mod tree;
