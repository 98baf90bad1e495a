//! The private warehouse against the installed PostgreSQL.

use std::path::Path;
use std::process::Output;

use rsqlflow_local::warehouse::{Connection, Warehouse, WarehouseError};
use rustix::process::{Pid, Signal, kill_process};

/// The connection of a first start, or nothing (with the reason printed) where PostgreSQL is not installed.
async fn first_start(warehouse: &Warehouse) -> Option<Connection> {
    match warehouse.connection().await {
        Err(WarehouseError::NotInstalled) => {
            println!("skipped: PostgreSQL is not installed");
            None
        }
        other => Some(other.unwrap()),
    }
}

async fn psql(connection: &Connection, sql: &str) -> Output {
    tokio::process::Command::new("psql")
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .env("PGHOST", &connection.host)
        .env("PGPORT", connection.port.to_string())
        .env("PGUSER", &connection.user)
        .env("PGPASSWORD", &connection.password)
        .env("PGDATABASE", &connection.dbname)
        .output()
        .await
        .unwrap()
}

async fn ask(connection: &Connection, sql: &str) -> String {
    let output = psql(connection, sql).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn postmaster(files: &Path) -> i32 {
    let text = std::fs::read_to_string(files.join("cluster/postmaster.pid")).unwrap();
    text.lines().next().unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn it_is_made_once_and_outlives_crashes_of_either_side() {
    let dir = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::new(dir.path());
    // Everybody who asks at the same time gets the same server.
    let (first, second) = tokio::join!(first_start(&warehouse), warehouse.connection());
    let Some(connection) = first else { return };
    assert!(connection == second.unwrap());
    assert_eq!(ask(&connection, "select current_user, current_database()").await, "awsuser|dev");
    assert_eq!(ask(&connection, "show listen_addresses").await, "127.0.0.1");
    assert_eq!(ask(&connection, "show fsync").await, "on");
    ask(&connection, "create table t as select 1 as v").await;
    let wrong = Connection { password: "wrong".into(), ..connection.clone() };
    assert!(!psql(&wrong, "select 1").await.status.success());

    // Our process ends without stopping it: the next one adopts it.
    let files = warehouse.files().unwrap();
    let pid = postmaster(&files);
    drop(warehouse);
    let warehouse = Warehouse::new(dir.path());
    assert!(warehouse.connection().await.unwrap() == connection);
    assert_eq!(postmaster(&files), pid);

    // The server is killed: the next who asks gets it started again, on the same port, with its data.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    super::eventually(|| async { (!warehouse.is_running().await).then_some(()) }).await;
    let again = warehouse.connection().await.unwrap();
    assert_ne!(postmaster(&files), pid);
    assert_eq!(ask(&again, "select v from t").await, "1");

    warehouse.stop().await.unwrap();
    assert!(!warehouse.is_running().await);
    assert!(!files.join("cluster/postmaster.pid").exists(), "it was not shut down cleanly");
    let restarted = warehouse.connection().await.unwrap();
    assert!(restarted == again);
    warehouse.destroy().await.unwrap();
    assert!(!files.exists());
}

#[tokio::test]
async fn a_taken_port_is_given_up_and_a_lost_password_told() {
    let dir = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::new(dir.path());
    let Some(connection) = first_start(&warehouse).await else { return };
    warehouse.stop().await.unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", connection.port)).unwrap();
    let elsewhere = warehouse.connection().await.unwrap();
    assert_ne!(elsewhere.port, connection.port);
    assert_eq!(ask(&elsewhere, "select 1").await, "1");
    drop(taken);
    warehouse.stop().await.unwrap();

    std::fs::remove_file(dir.path().join("warehouse/connection.json")).unwrap();
    let error = warehouse.connection().await.unwrap_err();
    assert!(matches!(error, WarehouseError::RecordLost { .. }), "{error}");
    warehouse.destroy().await.unwrap();
}

#[tokio::test]
async fn reading_its_secret_starts_it() {
    use aws_sdk_secretsmanager::Client;
    use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
    let dir = tempfile::tempdir().unwrap();
    let options = CloudOptions { warehouse_secret: Some("warehouse".into()), ..CloudOptions::default() };
    let cloud = LocalCloud::open(dir.path(), options).await.unwrap();
    let client = Client::new(&super::sdk::config(&cloud).await);
    client.describe_secret().secret_id("warehouse").send().await.unwrap();
    assert!(!cloud.warehouse().is_running().await);
    if first_start(cloud.warehouse()).await.is_none() {
        return;
    }
    cloud.warehouse().stop().await.unwrap();
    let got = client.get_secret_value().secret_id("warehouse").send().await.unwrap();
    let secret: serde_json::Value = serde_json::from_str(got.secret_string().unwrap()).unwrap();
    assert_eq!((secret["username"].as_str(), secret["dbname"].as_str()), (Some("awsuser"), Some("dev")));
    assert!(cloud.warehouse().is_running().await);
    let warehouse = cloud.warehouse().clone();
    cloud.close().await;
    assert!(!warehouse.is_running().await);
    warehouse.destroy().await.unwrap();
}

#[tokio::test]
async fn the_warehouse_of_a_deleted_data_directory_goes_with_the_next() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let orphan = Warehouse::new(first.path());
    if first_start(&orphan).await.is_none() {
        return;
    }
    let files = orphan.files().unwrap();
    let pid = Pid::from_raw(postmaster(&files)).unwrap();
    if files.starts_with(first.path()) {
        println!("skipped: only root keeps clusters outside of the data directory");
        orphan.destroy().await.unwrap();
        return;
    }
    drop(orphan);
    drop(first);
    let next = Warehouse::new(second.path());
    next.connection().await.unwrap();
    assert!(!files.exists());
    assert!(rustix::process::test_kill_process(pid).is_err(), "its server still runs");
    next.destroy().await.unwrap();
}
