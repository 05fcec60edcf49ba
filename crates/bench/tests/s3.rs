//! Whole measurements against a small S3 stand-in that checks every signature and counts every
//! request.

mod stub;

use std::time::Duration;

use bench::{
    BenchError, ByteSize, Credentials, Failure, Operation, Progress, Report, S3BenchConfig, run_s3,
};
use runtime::Runtime;
use stub::{Fault, SECRET, Stub};

fn config(stub: &Stub, op: Operation) -> S3BenchConfig {
    S3BenchConfig {
        endpoint: stub.endpoint().parse().expect("an endpoint"),
        bucket: "bench-bucket".to_owned(),
        op,
        size: ByteSize(5000),
        concurrency: 3,
        duration: Duration::from_millis(100),
        credentials: Credentials {
            access_key_id: "TESTKEY".to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: None,
        },
        region: "us-east-1".to_owned(),
        objects: 20,
        prefix: None,
        prepared: false,
        keep: false,
        sign_payload: false,
        server_pids: vec![],
    }
}

async fn run(config: S3BenchConfig) -> Result<Report, BenchError> {
    run_s3(config, &Runtime::real(), &Progress::silent()).await
}

#[tokio::test]
async fn puts_are_counted_and_removed() {
    let stub = Stub::start().await;
    let report = run(config(&stub, Operation::Put)).await.expect("a report");
    assert_eq!(report.errors_by_kind, [].into());
    assert!(report.total.requests > 0);
    assert_eq!(report.total.requests, stub.count("PUT object"));
    assert_eq!(report.total.bytes, 5000 * report.total.requests);
    assert_eq!(stub.count("PUT bytes"), report.total.bytes);
    assert_eq!(stub.count("DELETE object"), report.total.requests);
    assert_eq!((stub.count("PUT bucket"), stub.count("DELETE bucket")), (1, 1));
    assert_eq!(stub.count("bad signature"), 0);
    assert_eq!((report.objects, report.not_removed), (0, 0));
    assert!(stub.is_empty());
}

#[tokio::test]
async fn connections_are_kept() {
    let stub = Stub::start().await;
    let report = run(config(&stub, Operation::Put)).await.expect("a report");
    // One for the bucket, three to measure, three to remove; whatever the number of requests.
    assert!(report.total.requests >= 3);
    assert!((5..=7).contains(&stub.count("connections")));
}

#[tokio::test]
async fn gets_read_prepared_objects_to_the_end() {
    let stub = Stub::start().await;
    let large = S3BenchConfig { size: ByteSize(3_000_000), ..config(&stub, Operation::Get) };
    let report = run(large).await.expect("a report");
    assert_eq!(report.errors_by_kind, [].into());
    assert_eq!(stub.count("PUT object"), 20);
    assert_eq!(report.total.requests, stub.count("GET object"));
    assert_eq!(report.total.bytes, 3_000_000 * report.total.requests);
    assert!(stub.is_empty());
}

#[tokio::test]
async fn deletes_end_when_nothing_is_left() {
    let stub = Stub::start().await;
    let hours =
        S3BenchConfig { duration: Duration::from_secs(36_000), ..config(&stub, Operation::Delete) };
    let report = run(hours).await.expect("a report");
    assert_eq!((report.total.requests, report.total.bytes), (20, 0));
    assert_eq!(stub.count("DELETE object"), 20);
    assert!(stub.is_empty());
}

#[tokio::test]
async fn listings_go_through_all_pages() {
    let stub = Stub::start().await;
    let many = S3BenchConfig { objects: 2500, size: ByteSize(0), ..config(&stub, Operation::List) };
    let report = run(many).await.expect("a report");
    assert_eq!(report.errors_by_kind, [].into());
    assert_eq!(report.total.requests, stub.count("LIST"));
    let keys = report.keys_listed.expect("keys");
    // Each connection is somewhere in its round of pages of 1000, 1000 and 500 keys.
    assert!(keys >= 3 * 1000 && keys <= 1000 * report.total.requests, "{keys}");
}

#[tokio::test]
async fn a_listing_that_lacks_a_key_is_an_error() {
    let stub = Stub::start().await;
    stub.set_fault(Fault::HideKeys);
    let report = run(config(&stub, Operation::List)).await.expect("a report");
    assert_eq!(report.total.requests, 0);
    assert_eq!(report.errors_by_kind.get("wrong listing"), Some(&report.total.errors));
    assert!(report.total.errors > 0);
}

#[tokio::test]
async fn a_mixture_is_reported_by_operation() {
    let stub = Stub::start().await;
    let longer =
        S3BenchConfig { duration: Duration::from_millis(300), ..config(&stub, Operation::Mixed) };
    let report = run(longer).await.expect("a report");
    assert_eq!(report.errors_by_kind, [].into());
    let of = |op| report.by_operation.get(&op).map_or(0, |measured| measured.requests);
    assert_eq!(of(Operation::Get), stub.count("GET object"));
    assert_eq!(of(Operation::Put), stub.count("PUT object") - 20);
    assert_eq!(of(Operation::List), stub.count("LIST"));
    let sum: u64 = report.by_operation.values().map(|measured| measured.requests).sum();
    assert_eq!(sum, report.total.requests);
    assert!(stub.is_empty());
}

#[tokio::test]
async fn bodies_can_be_signed() {
    let stub = Stub::start().await;
    let signed = S3BenchConfig { sign_payload: true, ..config(&stub, Operation::Put) };
    let report = run(signed).await.expect("a report");
    assert_eq!((stub.count("bad signature"), report.total.errors), (0, 0));
    assert_eq!(stub.count("signed bodies"), report.total.requests);
}

#[tokio::test]
async fn errors_are_counted_by_kind() {
    for (fault, op, kind) in [
        (Fault::SlowDown, Operation::Put, "503 SlowDown"),
        (Fault::ShortBodies, Operation::Get, "wrong length"),
        (Fault::HangUp, Operation::Get, "connection broken"),
    ] {
        let stub = Stub::start().await;
        stub.set_fault(fault);
        let report = run(config(&stub, op)).await.expect("a report");
        assert_eq!(report.total.requests, 0, "{kind}");
        assert!(report.total.errors > 0, "{kind}");
        assert_eq!(report.errors_by_kind.get(kind), Some(&report.total.errors), "{kind}");
    }
}

#[tokio::test]
async fn what_is_kept_serves_the_next_run() {
    let stub = Stub::start().await;
    let first = S3BenchConfig {
        keep: true,
        prefix: Some("kept/ü ".to_owned()),
        ..config(&stub, Operation::Get)
    };
    run(first.clone()).await.expect("a report");
    assert_eq!((stub.count("PUT object"), stub.count("DELETE object")), (20, 0));
    let second = S3BenchConfig { prepared: true, keep: false, op: Operation::List, ..first };
    let report = run(second).await.expect("a report");
    assert_eq!((stub.count("PUT object"), report.total.errors), (20, 0));
    // Neither the objects nor the bucket were made by the second run.
    assert_eq!((stub.count("DELETE object"), stub.count("DELETE bucket")), (0, 0));
}

#[tokio::test]
async fn a_failed_preparation_removes_what_it_made() {
    let stub = Stub::start().await;
    stub.set_fault(Fault::FullAfter(12));
    let error = run(config(&stub, Operation::Get)).await.expect_err("no report");
    let BenchError::Prepare { failure: Failure::Status { status, .. }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(status, 403);
    assert!(stub.count("DELETE object") > 0 && stub.is_empty());
}

#[tokio::test]
async fn wrong_credentials_and_absent_servers_are_told_apart() {
    let stub = Stub::start().await;
    let mut wrong = config(&stub, Operation::Put);
    wrong.credentials.secret_access_key = "wrong".to_owned();
    let error = run(wrong).await.expect_err("no report");
    assert_eq!(error.kind(), types::ErrorKind::Denied, "{error}");
    let absent = config(&stub, Operation::Put);
    drop(stub);
    let error = run(absent).await.expect_err("no report");
    assert!(matches!(error, BenchError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn the_server_is_watched() {
    let stub = Stub::start().await;
    let watched =
        S3BenchConfig { server_pids: vec![std::process::id()], ..config(&stub, Operation::Put) };
    let server = run(watched).await.expect("a report").server.expect("figures");
    assert!(server.rss_peak_bytes > 1 << 20);
    assert!(server.cpu_seconds >= 0.0 && server.cpu_seconds_per_gib.is_some());
    let nobody = S3BenchConfig { server_pids: vec![u32::MAX], ..config(&stub, Operation::Put) };
    assert!(matches!(run(nobody).await, Err(BenchError::Process { pid: u32::MAX, .. })));
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let stub = Stub::start().await;
    let good = config(&stub, Operation::Get);
    for bad in [
        S3BenchConfig { concurrency: 0, ..good.clone() },
        S3BenchConfig { objects: 0, ..good.clone() },
        S3BenchConfig { size: ByteSize((5 << 30) + 1), ..good.clone() },
        S3BenchConfig { prepared: true, ..good.clone() },
        S3BenchConfig { region: "a<b".to_owned(), ..good.clone() },
        S3BenchConfig { bucket: String::new(), ..good },
    ] {
        assert!(matches!(run(bad).await, Err(BenchError::OutOfRange(_))));
    }
    assert_eq!(stub.count("connections"), 0);
}
