use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, KeySchemaElement, KeyType, Put,
    ScalarAttributeType, TransactWriteItem,
};

async fn table(client: &Client, name: &str) {
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("id")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .unwrap(),
        )
        .key_schema(KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap())
        .send()
        .await
        .unwrap();
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

#[tokio::test]
async fn items_conditions_and_transactions() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    table(&client, "items").await;
    let described = client.describe_table().table_name("items").send().await.unwrap().table.unwrap();
    assert_eq!(described.table_arn(), Some("arn:aws:dynamodb:us-east-1:000000000000:table/items"));

    let put = || client.put_item().table_name("items").item("id", s("a")).item("v", s("1"));
    let before = fixture.cloud.dynamodb().commits();
    put().send().await.unwrap();
    assert_eq!(fixture.cloud.dynamodb().commits() - before, 1);
    let got = client.get_item().table_name("items").key("id", s("a")).send().await.unwrap();
    assert_eq!(got.item().unwrap()["v"], s("1"));

    let again =
        put().condition_expression("attribute_not_exists(id)").send().await.unwrap_err().into_service_error();
    assert!(matches!(again, PutItemError::ConditionalCheckFailedException(_)), "{again:?}");

    let cancelled = client
        .transact_write_items()
        .transact_items(
            TransactWriteItem::builder()
                .put(Put::builder().table_name("items").item("id", s("b")).build().unwrap())
                .build(),
        )
        .transact_items(
            TransactWriteItem::builder()
                .condition_check(
                    ConditionCheck::builder()
                        .table_name("items")
                        .key("id", s("a"))
                        .condition_expression("attribute_not_exists(id)")
                        .build()
                        .unwrap(),
                )
                .build(),
        )
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = cancelled else {
        panic!("{cancelled:?}")
    };
    let codes: Vec<_> =
        cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
}

#[tokio::test]
async fn errors_carry_awss_codes() {
    let fixture = super::cloud().await;
    let client = Client::new(&fixture.config);
    let missing = client.get_item().table_name("none").key("id", s("a")).send().await.unwrap_err();
    assert_eq!(missing.code(), Some("ResourceNotFoundException"));
    table(&client, "items").await;
    let keyless = client.put_item().table_name("items").item("v", s("1")).send().await.unwrap_err();
    assert_eq!(keyless.code(), Some("ValidationException"));
    assert!(!keyless.message().unwrap().contains("VALIDATION:"), "{keyless:?}");
}
