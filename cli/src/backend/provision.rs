//! What the embedded default needs and an account gets from its deployment: tables, log group, state machines.
//!
//! Every command that opens the embedded default comes through here, so what is there is found with few
//! calls, and only what is missing or differs is made. Nothing is ever deleted. In AWS this is the business of
//! `deploy/`, whose names these must match.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use rsqlflow_config::audit::OPEN_WORKFLOW;
use rsqlflow_config::settings::{Settings, StateMachines, Tables};
use rsqlflow_trigger::{JOBS_BY_RUN, OPEN_RUNS, RUNS_BY_WORKFLOW};

use super::Clients;
use crate::error::CliError;

/// The account of everything local.
const ACCOUNT: &str = rsqlflow_local::place::ACCOUNT_ID;

/// The state machines: name and definition.
const MACHINES: [(&str, &str); 3] = [
    ("rsqlflow-sequential", include_str!("../../../statemachines/sequential.asl.json")),
    ("rsqlflow-parallel", include_str!("../../../statemachines/parallel.asl.json")),
    ("rsqlflow-master", include_str!("../../../statemachines/master.asl.json")),
];

/// The ARNs that the state machines have here.
pub(super) fn state_machine_arns(region: &str) -> StateMachines {
    let [sequential, parallel, master] = MACHINES.map(|(name, _)| state_machine_arn(region, name));
    StateMachines { master, sequential, parallel }
}

fn state_machine_arn(region: &str, name: &str) -> String {
    format!("arn:aws:states:{region}:{ACCOUNT}:stateMachine:{name}")
}

/// The name of the function that schedules start.
pub(super) const TRIGGER_FUNCTION: &str = "rsqlflow-trigger";

/// The ARNs that the trigger function, and the role of schedules that start it, have here.
pub(super) fn schedule_arns(region: &str) -> (String, String) {
    let function = format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{TRIGGER_FUNCTION}");
    (function, format!("arn:aws:iam::{ACCOUNT}:role/rsqlflow-scheduler"))
}

/// Makes the schedule group if it is missing.
pub(super) async fn make_schedule_group(clients: &Clients, name: &str) -> Result<(), CliError> {
    match clients.scheduler.get_schedule_group().name(name).send().await {
        Ok(_) => return Ok(()),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {}
        Err(error) => return Err(CliError::aws("looking at the schedule group")(error)),
    }
    let made = clients.scheduler.create_schedule_group().name(name).send().await;
    made.map(|_| ()).map_err(CliError::aws("creating the schedule group"))
}

/// An index: its name, its keys and what it holds of an item.
struct Index {
    name: &'static str,
    hash: &'static str,
    range: Option<&'static str>,
    projection: ProjectionType,
}

const JOB_INDEXES: [Index; 1] = [Index {
    name: JOBS_BY_RUN,
    hash: "workflow_execution_id",
    range: None,
    projection: ProjectionType::All,
}];

const RUN_INDEXES: [Index; 2] = [
    Index {
        name: RUNS_BY_WORKFLOW,
        hash: "workflow_id",
        range: Some("execution_start_ts"),
        projection: ProjectionType::All,
    },
    Index {
        name: OPEN_RUNS,
        hash: OPEN_WORKFLOW,
        range: Some("execution_start_ts"),
        projection: ProjectionType::KeysOnly,
    },
];

/// A table: its keys, and its indexes.
struct Table<'a> {
    name: &'a str,
    hash: &'static str,
    range: Option<&'static str>,
    indexes: &'static [Index],
}

fn tables(names: &Tables) -> [Table<'_>; 4] {
    [
        Table { name: &names.config, hash: "workflow_id", range: None, indexes: &[] },
        Table {
            name: &names.job_audit,
            hash: "job_name",
            range: Some("workflow_execution_id"),
            indexes: &JOB_INDEXES,
        },
        Table {
            name: &names.workflow_audit,
            hash: "workflow_execution_id",
            range: Some("workflow_id"),
            indexes: &RUN_INDEXES,
        },
        Table { name: &names.hosts, hash: "instance_id", range: None, indexes: &[] },
    ]
}

/// Makes the tables that are missing.
pub(super) async fn make_tables(clients: &Clients, settings: &Settings) -> Result<(), CliError> {
    let known = clients.dynamodb.list_tables().send().await.map_err(CliError::aws("listing the tables"))?;
    let known: BTreeSet<String> = known.table_names.unwrap_or_default().into_iter().collect();
    for table in tables(&settings.tables).iter().filter(|table| !known.contains(table.name)) {
        make_table(clients, table).await?;
    }
    Ok(())
}

async fn make_table(clients: &Clients, table: &Table<'_>) -> Result<(), CliError> {
    let invalid = |error: aws_sdk_dynamodb::error::BuildError| CliError::Embedded {
        what: "describing a table",
        source: error.into(),
    };
    let of_indexes = table.indexes.iter().flat_map(|index| [Some(index.hash), index.range]);
    let attributes: BTreeSet<&str> =
        [Some(table.hash), table.range].into_iter().chain(of_indexes).flatten().collect();
    let mut request = clients
        .dynamodb
        .create_table()
        .table_name(table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(keys(table.hash, table.range).map_err(invalid)?));
    for name in attributes {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .map_err(invalid)?;
        request = request.attribute_definitions(attribute);
    }
    for index in table.indexes {
        let index = GlobalSecondaryIndex::builder()
            .index_name(index.name)
            .set_key_schema(Some(keys(index.hash, index.range).map_err(invalid)?))
            .projection(Projection::builder().projection_type(index.projection.clone()).build())
            .build()
            .map_err(invalid)?;
        request = request.global_secondary_indexes(index);
    }
    match request.send().await {
        Ok(_) => {}
        // Further down the list than its first page.
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {}
        Err(error) => return Err(CliError::aws("creating a table")(error)),
    }
    // A table is usable once it has been seen active; the embedded default makes it so with the first look.
    let look = clients.dynamodb.describe_table().table_name(table.name).send().await;
    look.map_err(CliError::aws("looking at a table"))?;
    Ok(())
}

fn keys(
    hash: &str,
    range: Option<&str>,
) -> Result<Vec<KeySchemaElement>, aws_sdk_dynamodb::error::BuildError> {
    let mut keys = vec![KeySchemaElement::builder().attribute_name(hash).key_type(KeyType::Hash).build()?];
    if let Some(range) = range {
        keys.push(KeySchemaElement::builder().attribute_name(range).key_type(KeyType::Range).build()?);
    }
    Ok(keys)
}

/// Makes the log group, and the state machines that are missing or have another definition.
pub(super) async fn make_runtime(clients: &Clients, settings: &Settings) -> Result<(), CliError> {
    make_log_group(clients, &settings.log_group).await?;
    for (name, definition) in MACHINES {
        make_machine(clients, &settings.region, name, definition).await?;
    }
    Ok(())
}

async fn make_machine(clients: &Clients, region: &str, name: &str, definition: &str) -> Result<(), CliError> {
    let arn = state_machine_arn(region, name);
    match clients.sfn.describe_state_machine().state_machine_arn(&arn).send().await {
        Ok(known) if known.definition == definition => {}
        Ok(_) => {
            let update = clients.sfn.update_state_machine().state_machine_arn(&arn).definition(definition);
            update.send().await.map_err(CliError::aws("updating a state machine"))?;
        }
        Err(error)
            if error.as_service_error().is_some_and(|error| error.is_state_machine_does_not_exist()) =>
        {
            let role = format!("arn:aws:iam::{ACCOUNT}:role/rsqlflow");
            let create = clients.sfn.create_state_machine().name(name).definition(definition).role_arn(role);
            create.send().await.map_err(CliError::aws("creating a state machine"))?;
        }
        Err(error) => return Err(CliError::aws("looking at a state machine")(error)),
    }
    Ok(())
}

async fn make_log_group(clients: &Clients, name: &str) -> Result<(), CliError> {
    let made = clients.logs.create_log_group().log_group_name(name).send().await;
    match made {
        Ok(_) => Ok(()),
        Err(error)
            if error.as_service_error().is_some_and(|error| error.is_resource_already_exists_exception()) =>
        {
            Ok(())
        }
        Err(error) => Err(CliError::aws("creating the log group")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What the template calls a table's keys.
    fn schema(hash: &str, range: Option<&str>) -> Value {
        let mut keys = vec![json!({ "AttributeName": hash, "KeyType": "HASH" })];
        keys.extend(range.map(|range| json!({ "AttributeName": range, "KeyType": "RANGE" })));
        Value::Array(keys)
    }

    #[test]
    fn an_account_gets_the_same() {
        let template = crate::template::value().unwrap();
        let settings = Settings::load(None, &std::env::temp_dir(), []).unwrap();
        let prefix = template["Parameters"]["Prefix"]["Default"].as_str().unwrap();
        let named = |name: &Value| name["Fn::Sub"].as_str().unwrap().replace("${Prefix}", prefix);
        let resources = template["Resources"].as_object().unwrap();
        for table in tables(&settings.tables) {
            let named = |resource: &&Value| {
                resource["Type"] == "AWS::DynamoDB::Table"
                    && named(&resource["Properties"]["TableName"]) == table.name
            };
            let there = &resources.values().find(named).unwrap()["Properties"];
            assert_eq!(there["KeySchema"], schema(table.hash, table.range), "{}", table.name);
            let indexes = table.indexes.iter().map(|index| {
                json!({ "IndexName": index.name, "KeySchema": schema(index.hash, index.range),
                    "Projection": { "ProjectionType": index.projection.as_str() } })
            });
            let indexes: Vec<Value> = indexes.collect();
            let indexes = (!indexes.is_empty()).then(|| Value::Array(indexes));
            assert_eq!(there.get("GlobalSecondaryIndexes"), indexes.as_ref(), "{}", table.name);
        }
        for (name, _) in MACHINES {
            let machine = |resource: &Value| {
                resource["Type"] == "AWS::StepFunctions::StateMachine"
                    && named(&resource["Properties"]["StateMachineName"]) == name
            };
            assert!(resources.values().any(machine), "{name}");
        }
        assert_eq!(template["Parameters"]["LogGroupName"]["Default"], *settings.log_group);
        assert_eq!(template["Parameters"]["DefaultSecretId"]["Default"], *settings.secret_id);
        // In an account a job has further to go before its agent is heard of.
        let heartbeat = template["Parameters"]["HeartbeatSeconds"]["Default"].as_u64().unwrap();
        assert!(heartbeat > settings.heartbeat_seconds.into(), "{heartbeat}");
    }
}
