use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
use rsqlflow_local::secrets::{SecretProvider, SecretValue};

struct Refusing;

impl SecretProvider for Refusing {
    fn secret(&self) -> SecretValue<'_> {
        Box::pin(async { Err("PostgreSQL is not installed".to_owned()) })
    }
}

#[tokio::test]
async fn configured_provided_and_created_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = BTreeMap::from([("redshift/prod".to_owned(), r#"{"password":"hunter2"}"#.to_owned())]);
    let options = CloudOptions { secrets, ..CloudOptions::default() };
    assert!(!format!("{options:?}").contains("hunter2"));
    let cloud = LocalCloud::open(dir.path(), options).await.unwrap();
    let client = Client::new(&super::config(&cloud).await);
    cloud.secrets().provide("warehouse", Arc::new(Refusing));

    let got = client.get_secret_value().secret_id("redshift/prod").send().await.unwrap();
    assert_eq!(got.secret_string(), Some(r#"{"password":"hunter2"}"#));
    let by_arn = client.get_secret_value().secret_id(got.arn().unwrap()).send().await.unwrap();
    assert_eq!(by_arn.name(), Some("redshift/prod"));
    let fixed = client.put_secret_value().secret_id("redshift/prod").secret_string("x").send().await;
    assert_eq!(fixed.unwrap_err().code(), Some("InvalidRequestException"));

    let refused = client.get_secret_value().secret_id("warehouse").send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidRequestException"));
    assert!(refused.message().unwrap().contains("PostgreSQL is not installed"));

    client.create_secret().name("mine").secret_string("one").send().await.unwrap();
    let again = client.create_secret().name("mine").secret_string("one").send().await.unwrap_err();
    assert_eq!(again.code(), Some("ResourceExistsException"));
    client.put_secret_value().secret_id("mine").secret_string("two").send().await.unwrap();
    assert_eq!(
        client.get_secret_value().secret_id("mine").send().await.unwrap().secret_string(),
        Some("two")
    );

    let listed = client.list_secrets().max_results(2).send().await.unwrap();
    let names: Vec<_> = listed.secret_list().iter().map(|secret| secret.name().unwrap()).collect();
    assert_eq!(names, ["mine", "redshift/prod"]);
    let rest = client.list_secrets().next_token(listed.next_token().unwrap()).send().await.unwrap();
    assert_eq!(rest.secret_list()[0].name(), Some("warehouse"));

    client.delete_secret().secret_id("mine").send().await.unwrap();
    let gone = client.get_secret_value().secret_id("mine").send().await.unwrap_err();
    assert_eq!(gone.code(), Some("ResourceNotFoundException"));
}
