//! The loopback endpoint against clients that are slow, strange or hostile; raw bytes, no `aws` needed.

use std::time::Duration;

use rsqlflow_local::cloud::{CloudOptions, LocalCloud};
use rsqlflow_local::endpoint::{EndpointError, Serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn served() -> (tempfile::TempDir, LocalCloud, Serving) {
    let dir = tempfile::tempdir().unwrap();
    let cloud = LocalCloud::open(dir.path(), CloudOptions::default()).await.unwrap();
    let serving = cloud.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (dir, cloud, serving)
}

async fn talk(serving: &Serving, request: &str) -> String {
    let address = serving.endpoint().url.strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn only_the_loopback_address_is_served() {
    let (_dir, cloud, _serving) = served().await;
    for address in ["0.0.0.0:0", "[::]:0", "127.0.0.2:0", "192.0.2.1:80"] {
        let refused = cloud.serve(address.parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, EndpointError::NotLoopback(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_signature_is_refused_before_its_body_is_read() {
    let (_dir, _cloud, serving) = served().await;
    // The body never comes; the answer must.
    let answer = talk(
        &serving,
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: 1000000\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("x-amzn-errortype: MissingAuthenticationTokenException"), "{answer}");
    let answer = talk(
        &serving,
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("<Code>MissingAuthenticationToken</Code>"), "{answer}");
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let (_dir, _cloud, serving) = served().await;
    let address = serving.endpoint().url.strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let line = format!("x-{}: y\r\n", "a".repeat(1000));
    let mut sent = stream.write_all(b"POST / HTTP/1.1\r\n").await;
    for _ in 0..10_000 {
        if sent.is_err() {
            break;
        }
        sent = stream.write_all(line.as_bytes()).await;
    }
    assert!(sent.is_err(), "ten megabytes of headers were taken");
}

/// Connections in every state that asks for nothing: more of them than there are places.
#[tokio::test]
async fn idle_clients_do_not_keep_others_out() {
    let (_dir, _cloud, serving) = served().await;
    let address = serving.endpoint().url.strip_prefix("http://").unwrap().to_owned();
    let mut idle = Vec::new();
    for number in 0..600 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        match number % 3 {
            // Silent from the start.
            0 => {}
            // A head that never ends.
            1 => stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-").await.unwrap(),
            // Kept after a request.
            _ => {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
            }
        }
        idle.push(stream);
    }
    let answer = talk(&serving, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // The first of them had to go, the last had not.
    let mut rest = String::new();
    assert_eq!(idle[0].read_to_string(&mut rest).await.unwrap_or_default(), 0);
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    last.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 400"), "{rest}");
    serving.stop().await;
}
