//! Servers that never answer, and whose listings never end: they cost their own table its snapshot, and no other.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::told_live::Lake;

/// Starts a server on loopback that does the same to each connection, and returns its address. It ends with the tests.
fn serve(answer: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || answer(connection));
        }
    });
    format!("http://{address}")
}

fn silence(mut connection: TcpStream) {
    let mut bytes = [0; 1024];
    while matches!(connection.read(&mut bytes), Ok(1..)) {}
}

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n";
const LIST: &str = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>true</IsTruncated>\
                    <NextContinuationToken>next</NextContinuationToken>";
const ROW: &str = "<Contents><Key>t/_delta_log/00000000000000000000.json</Key><Size>2</Size><ETag>\"e\"</ETag>\
                   <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>";

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// Answers with one listing that has no end.
fn endless_page(mut connection: TcpStream) {
    let mut bytes = [0; 4096];
    if connection.read(&mut bytes).is_err() {
        return;
    }
    let row = chunk(&ROW.repeat(1000));
    let mut sent = connection.write_all(&[HEAD, &chunk(LIST)].concat());
    while sent.is_ok() {
        sent = connection.write_all(&row);
    }
}

/// Answers every request with the same page of a listing that goes on.
fn endless_pages(mut connection: TcpStream) {
    let mut bytes = [0; 4096];
    let page = [LIST, ROW, "</ListBucketResult>"].concat();
    let answer = [HEAD, &chunk(&page), b"0\r\n\r\n"].concat();
    while matches!(connection.read(&mut bytes), Ok(1..)) {
        if connection.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Takes a snapshot of a table on that server and of one in a folder; returns what was printed.
fn night(server: &str, flags: &[&str]) -> String {
    let lake = Lake::with_snapshot();
    let config = format!("[source]\nendpoint = \"{server}\"\nregion = \"us-east-1\"\n");
    std::fs::write(lake.folder().join("dv.toml"), config).unwrap();
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault", "--config", "dv.toml", "snapshot"])
        .args(["s3://lake/t", "lake/orders"])
        .args(flags)
        .current_dir(lake.folder())
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("lake-orders v0 is snapshot"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{said}");
    said
}

#[test]
fn table_on_a_server_that_never_answers_is_given_up() {
    let said = night(&serve(silence), &["--table-timeout", "2s"]);
    assert!(
        said.contains("given up: nothing of it was copied for 2s"),
        "{said}"
    );
    assert!(said.contains("--table-timeout waits longer"), "{said}");
}

#[test]
fn command_that_a_scheduler_stops_ends_as_if_it_was_interrupted() {
    let lake = Lake::with_snapshot();
    let server = serve(silence);
    let config = format!("[source]\nendpoint = \"{server}\"\nregion = \"us-east-1\"\n");
    std::fs::write(lake.folder().join("dv.toml"), config).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args([
            "--vault",
            "vault",
            "--config",
            "dv.toml",
            "snapshot",
            "s3://lake/t",
        ])
        .current_dir(lake.folder())
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("error: interrupted"), "{said}");
}

#[test]
fn listing_without_an_end_is_cut_off() {
    let said = night(&serve(endless_page), &["--table-timeout", "20s"]);
    assert!(said.contains("length limit exceeded"), "{said}");
    assert!(!said.contains("given up"), "{said}");
    let said = night(&serve(endless_pages), &["--table-timeout", "20s"]);
    assert!(said.contains("does not lead on"), "{said}");
}
