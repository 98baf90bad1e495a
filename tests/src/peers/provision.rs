//! What an account gets from its deployment, made by plain API calls: tables, log group, schedule group, secret,
//! document and state machines.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_sdk_ssm::types::{DocumentFormat, DocumentType};
use serde_json::json;

use crate::endpoint::Endpoint;
use crate::site::project;

/// The id of the warehouse's secret.
pub const SECRET: &str = "rsqlflow/peers";

/// The password in it, to be looked for where it must not be.
pub const PASSWORD: &str = "Nobody/may+see this";

/// The ARNs of the state machines.
#[derive(Debug, Clone)]
pub struct StateMachines {
    /// Runs workflows.
    pub master: String,
    /// Runs sequential stages.
    pub sequential: String,
    /// Runs parallel stages.
    pub parallel: String,
}

/// The connection that the secret holds.
pub fn secret() -> String {
    json!({"host": "warehouse.invalid", "port": 5439, "username": "etl", "password": PASSWORD, "dbname": "dev"})
        .to_string()
}

/// The document that hands job requests to the agent, as it is deployed.
pub fn document() -> String {
    let path = project().join("deploy/run-script.ssm.json");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Makes everything on a fresh endpoint.
///
/// # Panics
/// When the endpoint refuses.
pub fn provision(endpoint: &Endpoint) -> StateMachines {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = endpoint.config();
        make_tables(&aws_sdk_dynamodb::Client::new(&config)).await;
        let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
        logs.create_log_group().log_group_name("/ops/rsql-logs").send().await.expect("a log group");
        let scheduler = aws_sdk_scheduler::Client::new(&config);
        scheduler.create_schedule_group().name("rsqlflow").send().await.expect("a schedule group");
        let secrets = aws_sdk_secretsmanager::Client::new(&config);
        secrets.create_secret().name(SECRET).secret_string(secret()).send().await.expect("a secret");
        let ssm = aws_sdk_ssm::Client::new(&config);
        let create = ssm.create_document().name("Rsqlflow-RunScript").content(document());
        let create = create.document_type(DocumentType::Command).document_format(DocumentFormat::Json);
        create.send().await.expect("a document");
        make_state_machines(&aws_sdk_sfn::Client::new(&config)).await
    })
}

async fn make_state_machines(client: &aws_sdk_sfn::Client) -> StateMachines {
    let make = async |name: &str| {
        let path = project().join("statemachines").join(format!("{name}.asl.json"));
        let definition = std::fs::read_to_string(path).expect("a definition");
        let create = client.create_state_machine().name(format!("rsqlflow-{name}")).definition(definition);
        let create = create.role_arn("arn:aws:iam::123456789012:role/rsqlflow-states");
        create.send().await.expect("a state machine").state_machine_arn
    };
    StateMachines {
        master: make("master").await,
        sequential: make("sequential").await,
        parallel: make("parallel").await,
    }
}

type Index = (&'static str, &'static str, Option<&'static str>, ProjectionType);

async fn make_tables(client: &aws_sdk_dynamodb::Client) {
    let tables: [(&str, &str, Option<&str>, &[Index]); 4] = [
        ("rsqlflow-config", "workflow_id", None, &[]),
        ("rsqlflow-hosts", "instance_id", None, &[]),
        (
            "rsqlflow-job-audit",
            "job_name",
            Some("workflow_execution_id"),
            &[("by-run", "workflow_execution_id", None, ProjectionType::All)],
        ),
        (
            "rsqlflow-workflow-audit",
            "workflow_execution_id",
            Some("workflow_id"),
            &[
                ("by-workflow", "workflow_id", Some("execution_start_ts"), ProjectionType::All),
                ("open-runs", "open_workflow", Some("execution_start_ts"), ProjectionType::KeysOnly),
            ],
        ),
    ];
    for (name, hash, range, indexes) in tables {
        let mut attributes = vec![Some(hash), range];
        let mut create = client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(keys(hash, range)));
        for (index, hash, range, projection) in indexes {
            attributes.extend([Some(*hash), *range]);
            let index = GlobalSecondaryIndex::builder()
                .index_name(*index)
                .set_key_schema(Some(keys(hash, *range)))
                .projection(Projection::builder().projection_type(projection.clone()).build());
            create = create.global_secondary_indexes(index.build().unwrap());
        }
        let mut attributes: Vec<&str> = attributes.into_iter().flatten().collect();
        attributes.sort_unstable();
        attributes.dedup();
        for name in attributes {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            create = create.attribute_definitions(
                attribute.attribute_type(ScalarAttributeType::S).build().expect("both are given"),
            );
        }
        create.send().await.expect("a table");
    }
}

fn keys(hash: &str, range: Option<&str>) -> Vec<KeySchemaElement> {
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let mut keys = vec![key(hash, KeyType::Hash).expect("both are given")];
    keys.extend(range.map(|name| key(name, KeyType::Range).expect("both are given")));
    keys
}
