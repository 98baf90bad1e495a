//! What is told to whoever watches the agent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake_aws::Answer;
use crate::world::{World, until};

async fn watched() -> (World, SocketAddr) {
    let mut world = World::stopped();
    world.config.listen = Some("127.0.0.1:0".parse().unwrap());
    world.start().await;
    let address = world.agent().watched_at().unwrap();
    (world, address)
}

/// The whole answer to one request.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request}\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_jobs_do_is_counted() {
    let (world, address) = watched().await;
    world.aws.next("SendTaskFailure", Answer::Error("ThrottlingException", 400));
    world.aws.next("UpdateItem", Answer::Error("ConditionalCheckFailedException", 400));
    world.run("echo one; echo two; exit 3").await;
    world.settled().await;
    let text = ask(address, "GET /metrics HTTP/1.1").await;
    let value = |series: &str| {
        let series = format!("rsqlflow_agent_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {series}in {text}")).to_owned()
    };
    assert_eq!(value("callbacks_total{answer=\"accepted\"}"), "1");
    assert_eq!(value("calls_failed_total{service=\"stepfunctions\"}"), "1");
    assert_eq!(value("calls_failed_total{service=\"dynamodb\"}"), "0", "a final record is no failure");
    assert_eq!(value("jobs{state=\"running\"}"), "0");
    assert_ne!(value("journal_flushes_total"), "0");
    for secret in ["job.sh", "nightly", crate::world::TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn health_is_one_line() {
    let (mut world, address) = watched().await;
    world.script("slow.sh", "sleep 1000");
    world.submit(&world.request("slow.sh")).await;
    let mut health = String::new();
    while !health.contains("\"running\":1") {
        health = ask(address, "GET /health HTTP/1.1").await;
    }
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    let body: serde_json::Value = serde_json::from_str(health.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["status"], &body["queued"]), (&"ok".into(), &0.into()));
    assert!(body["since"].as_str().unwrap().ends_with('Z'));
    assert!(ask(address, "GET /jobs HTTP/1.1").await.starts_with("HTTP/1.1 404 "));
    assert!(ask(address, "POST /health HTTP/1.1").await.starts_with("HTTP/1.1 405 "));
    world.shutdown_all().await;
    until("the port to be closed", || std::net::TcpStream::connect(address).err().map(drop)).await;
}

/// Every user of the host can connect and say nothing; more of them than there are places.
#[tokio::test]
async fn silent_clients_keep_nobody_from_health_or_the_socket() {
    let (mut world, address) = watched().await;
    let mut silent = Vec::new();
    for number in 0..135 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 1 {
            // A head that never ends. One that had to go already does not mind.
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").await;
        }
        silent.push(stream);
    }
    let socket = world.agent().socket().to_owned();
    let mut silent_at_socket = Vec::new();
    for _ in 0..300 {
        silent_at_socket.push(tokio::net::UnixStream::connect(&socket).await.unwrap());
    }
    let patience = std::time::Duration::from_secs(9);
    let health = tokio::time::timeout(patience, ask(address, "GET /health HTTP/1.1")).await;
    assert!(health.expect("an answer").starts_with("HTTP/1.1 200 OK\r\n"));
    let mut client = tokio::net::UnixStream::connect(&socket).await.unwrap();
    client.write_all(b"{\"status\":{}}\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(patience, client.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer.contains("running"), "{answer}");
    world.shutdown_all().await;
}

#[tokio::test]
async fn it_is_for_this_host_only() {
    let mut world = World::stopped();
    world.config.listen = Some("0.0.0.0:0".parse().unwrap());
    let error = rsqlflow_agent::Agent::start(world.config.clone(), &world.aws.clients()).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("agent.listen") && why.contains("127.0.0.1"), "{error}: {why}");
}
