//! The examples that each command's help ends with.

pub(super) const ALL: &str = "\
Examples:
  rsqlflow demo                              see it work, from nothing
  rsqlflow config put nightly.yaml           store a workflow
  rsqlflow run nightly --wait                run it and watch
  rsqlflow status RUN                        look at a run
  rsqlflow logs RUN load_sales.sh            read what a job printed

Exit codes:
  0  done; a run that was waited for completed
  1  a run failed, timed out or was cancelled, or the operation failed
  2  wrong usage, settings or config item, or no such workflow, run or job
  3  could not reach the backend

Data goes to stdout, everything else to stderr. NO_COLOR switches colours off,
RSQLFLOW_LOG=debug shows what goes on inside.";

pub(super) const DEMO: &str = "\
Examples:
  rsqlflow demo
  rsqlflow --data-dir /tmp/demo demo";

pub(super) const UP: &str = "\
Examples:
  rsqlflow up
  rsqlflow up --json                         one JSON line on stdout when it is ready
  RSQLFLOW_LOCAL_LISTEN=127.0.0.1:4566 rsqlflow up

It prints its endpoint and directories when it is ready, with --json as one line:
{endpoint, region, data_dir, scripts_dir, host, warehouse, schedules, next, pid}.
It fires the schedules of the workflows (`rsqlflow schedule list`). Ctrl-C or SIGTERM stops it.
Scripts that are running are ended then, and their jobs fail with Rsql.HostLost. Runs that
have no script running at that moment go on when it is started again.";

pub(super) const ENV: &str = "\
Examples:
  eval \"$(rsqlflow env)\" && aws stepfunctions list-state-machines
  eval \"$(rsqlflow env)\" && rsql -h $HOST -p $PORT -U $USER -d $DB

It sets HOST, PORT, USER, DB, RSPASSWORD and PGPASSWORD, as scripts for RSQL expect them. With
backend = \"aws\" it sets AWS_REGION and AWS_PROFILE as the settings have them, and nothing else.";

pub(super) const CONFIG: &str = "\
Examples:
  rsqlflow config validate workflows/*.yaml
  rsqlflow config put nightly.yaml
  rsqlflow config diff nightly.yaml
  rsqlflow config get nightly";

pub(super) const CONFIG_GET: &str = "\
Examples:
  rsqlflow config get nightly
  rsqlflow config get nightly > nightly.json && rsqlflow config put nightly.json";

pub(super) const CONFIG_LIST: &str = "\
Examples:
  rsqlflow config list
  rsqlflow config list --json | jq -r '.[].workflow_id'";

pub(super) const CONFIG_DELETE: &str = "\
Examples:
  rsqlflow config delete nightly
  rsqlflow config delete nightly --yes

Its schedule is deleted first. Where AWS then refuses the item, the same command again deletes
it. --json prints {workflow_id, deleted, schedule_deleted, error}, the last where one was refused.";

pub(super) const CONFIG_DEFAULTS: &str = "\
Examples:
  rsqlflow config defaults > rsqlflow.toml
  rsqlflow config defaults | less

It needs no settings, and prints TOML with --json as well.";

pub(super) const CONFIG_SCHEMA: &str = "\
Examples:
  rsqlflow config schema > workflow.schema.json
  rsqlflow config schema | jq '.properties.schedule'

It needs no settings. Editors check and complete items with it: in YAML, a first line of
# yaml-language-server: $schema=workflow.schema.json";

pub(super) const CONFIG_VALIDATE: &str = "\
Examples:
  rsqlflow config validate workflows/*.yaml
  generate-workflow | rsqlflow config validate -

Exits 2 where anything is wrong.
--json prints [{file, workflow_id, problems: [{path, message}]}].";

pub(super) const CONFIG_PUT: &str = "\
Examples:
  rsqlflow config put nightly.yaml
  rsqlflow config put workflows/*.yaml

Nothing is stored unless every file is right; --json then prints what `config validate` does.
The schedule of a workflow is made, changed or deleted with its item. Where AWS refuses one,
those before it are stored, those after it are not tried, and the same command again does
what is missing; `rsqlflow schedule list` shows an item that has not got its schedule.
--json prints [{file, workflow_id, action, schedule, error}], where action is created, updated,
unchanged, failed, unknown (no answer came) or not_tried, and schedule the same, deleted or
none; error is there where something went wrong.";

pub(super) const SCHEDULE: &str = "\
Examples:
  rsqlflow schedule list
  rsqlflow schedule list nightly --next 10
  rsqlflow schedule list --json | jq -r '.[] | select(.drift != \"none\") | .workflow_id'

Schedules are part of the config items and made by `config put`; `execution_flag: n` pauses
one. With the local backend they fire while `rsqlflow up` runs.
Exits 1 where an item and its schedule differ. --json prints [{workflow_id, schedule,
schedule_timezone, state, next: [{utc, local}], drift, differences}]: state is enabled,
disabled, over or absent; drift is none, missing, unwanted, differs, or invalid: the item
is not valid, and what it wants is not known.";

pub(super) const CONFIG_DIFF: &str = "\
Examples:
  rsqlflow config diff nightly.yaml
  rsqlflow config diff nightly.yaml --json

It compares the file with the stored item and with its schedule in EventBridge Scheduler.
--json prints {workflow_id, differs, stored, file, schedule: {drift, differences}}.";

pub(super) const RUN: &str = "\
Examples:
  rsqlflow run nightly
  rsqlflow run nightly --wait
  rsqlflow run nightly --param run_date=2026-11-20 --id nightly-2026-11-20
  RUN=$(rsqlflow run nightly) && rsqlflow logs $RUN --follow
  rsqlflow run --restart-from nightly-20261121-030000-4f2a1c
  rsqlflow run nightly --only load_sales.sh --only dim/load_b.sh

--restart-from runs what the earlier run did not complete, with its parameters (--param goes
over them) and the item as it is now, or --as-it-was. What --from-stage and --only name is
run in any case. The records of both runs name each other, and a run is restarted once: to go
on again, restart the restart.

The run id goes to stdout, progress to stderr. Where no `rsqlflow up` is running, this
command carries the run itself and so waits for its end, with or without --wait; Ctrl-C then
cancels the run. Otherwise Ctrl-C only stops watching. SIGTERM and SIGHUP do as Ctrl-C does.
Runs that a killed process left are carried too; when this command leaves before their end,
their scripts go on and the next `rsqlflow up` takes them up.
--json prints {workflow_execution_id, execution_arn, already_started}, or what `status --json`
prints where it waits.
Exits 0 completed, or started where it does not wait; 1 failed; 2 wrong usage or config item,
or no such workflow, run or job; 3 could not reach the backend. The id of a run that has ended
starts nothing, and exits as that run did.";

pub(super) const STATUS: &str = "\
Examples:
  rsqlflow status nightly-20261121-030000-4f2a1c
  rsqlflow status nightly-20261121-030000-4f2a1c --watch
  rsqlflow status RUN --json | jq -r '.jobs[] | select(.exit_code != 0) | .job_name'

--json prints the workflow audit record, with `jobs`: the job audit records in the order of
the stages.";

pub(super) const RUNS: &str = "\
Examples:
  rsqlflow runs
  rsqlflow runs nightly --limit 5
  rsqlflow runs --json | jq -r '.[].workflow_execution_id'";

pub(super) const HOSTS: &str = "\
Examples:
  rsqlflow hosts
  rsqlflow hosts --json | jq -r '.[] | select(.online) | .instance_id'

A host enters itself into the table of hosts four times a minute, and is offline when it has
not for a minute. `rsqlflow-agent drain` on the host keeps new jobs from it.";

pub(super) const LOGS: &str = "\
Examples:
  rsqlflow logs RUN
  rsqlflow logs RUN load_sales.sh --attempt 1
  rsqlflow logs RUN --follow

Lines have their job before them where several are shown. --json prints one object a line:
{timestamp, job_name, attempt, message}.";

pub(super) const CANCEL: &str = "\
Examples:
  rsqlflow cancel nightly-20261121-030000-4f2a1c
  rsqlflow cancel nightly-20261121-030000-4f2a1c --yes";

pub(super) const INIT: &str = "\
Examples:
  rsqlflow init --stack rsqlflow
  rsqlflow init --stack rsqlflow --profile prod --region eu-west-1
  rsqlflow --settings /etc/rsqlflow/rsqlflow.toml init --stack rsqlflow

Writes rsqlflow.toml, or the file of --settings. Where there is one, what would change is
shown and asked for; without a terminal it needs --force. Comments and other settings stay as
they are. --json prints {file, action}: action is created, updated or unchanged.";

pub(super) const TEMPLATE: &str = "\
Examples:
  rsqlflow template > rsqlflow.yaml
  KEY=rsqlflow-trigger-$(date +%Y%m%d-%H%M%S).zip
  aws s3 cp target/lambda/rsqlflow-trigger-x86_64.zip s3://BUCKET/$KEY
  aws cloudformation deploy --template-file rsqlflow.yaml --stack-name rsqlflow --s3-bucket BUCKET \\
    --capabilities CAPABILITY_NAMED_IAM --parameter-overrides TriggerBucket=BUCKET \\
    TriggerKey=$KEY
  rsqlflow template --output json | jq '.Parameters'

It needs neither settings nor an account. BUCKET is one of the stack's Region; `make lambda` builds the
zip file. Prefix stays as it is for the life of a stack. docs/aws.md tells the rest, docs/first-day.md
what to look at first.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  rsqlflow completions bash > ~/.local/share/bash-completion/completions/rsqlflow
  rsqlflow completions zsh > ~/.zfunc/_rsqlflow
  rsqlflow completions fish > ~/.config/fish/completions/rsqlflow.fish";
