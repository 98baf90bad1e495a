//! An instance is what its metadata service says, whatever host a settings file names.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::binary::agent;
use crate::world::World;

/// A metadata service, version 2: a token first, then the id for those who show it.
fn metadata(id: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4_096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&piece[..read]),
                }
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let body = if request.starts_with("put /latest/api/token ") {
                "the-token"
            } else if request.contains("x-aws-ec2-metadata-token: the-token")
                && request.starts_with("get /latest/meta-data/instance-id ")
            {
                id
            } else {
                ""
            };
            let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
            let answer = format!(
                "HTTP/1.1 {status}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\ncontent-length: {}\r\nconnection: \
                 close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_file_that_names_another_host_does_not_make_this_one_that_host() {
    let world = World::stopped();
    let doctor = |metadata: Option<&str>, named: &str| {
        let mut doctor = agent(&world.config.data_dir);
        doctor.args(["doctor", "--json"]).current_dir(world.dir.path());
        doctor.env("RSQLFLOW_BACKEND", "aws").env("RSQLFLOW_HOST", "i-0aaaaaaaaaaaaaaaa");
        doctor.env("RSQLFLOW_AGENT_INSTANCE_ID", named).env("AWS_REGION", "us-east-1");
        doctor.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        doctor.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        match metadata {
            Some(url) => doctor.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url),
            None => doctor.env("AWS_EC2_METADATA_DISABLED", "true"),
        };
        let report: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let settings = checks.iter().find(|check| check["check"] == "settings").unwrap();
        (settings["level"].clone(), settings["message"].as_str().unwrap().to_string())
    };
    let url = metadata("i-0bbbbbbbbbbbbbbbb");
    let (level, told) = doctor(Some(&url), "");
    assert_eq!(level, "ok", "{told}");
    assert!(told.contains("host i-0bbbbbbbbbbbbbbbb (from the instance's metadata)"), "{told}");
    assert!(told.contains("the setting host is i-0aaaaaaaaaaaaaaaa"), "{told}");
    let (level, told) = doctor(Some(&url), "i-0cccccccccccccccc");
    assert_eq!(level, "warn", "{told}");
    assert!(told.contains("agent.instance_id says so, and this instance is i-0bbbbbbbbbbbbbbbb"), "{told}");
    let (level, told) = doctor(None, "");
    assert_eq!(level, "warn", "two hosts with this file would have one id: {told}");
    assert!(told.contains("host i-0aaaaaaaaaaaaaaaa (from the setting host)"), "{told}");
    assert!(
        told.contains("the instance's metadata do not answer and agent.instance_id is not set"),
        "{told}"
    );
}
