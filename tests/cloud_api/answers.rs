//! Successful answers into values: sections 3 and 4 of the API contract.

use crate::server::{Reply, Server};
use crate::{client, fixture};
use glesys_autoscaler::engine::cloud::{ApiFailure, FailureKind, Server as Details};
use glesys_autoscaler::ports::CloudApi;
use serde_json::{Value, json};

async fn details(body: &str) -> Result<Details, ApiFailure> {
    let server = Server::start(vec![Reply::ok(body)]).await;
    client(&server.url()).details().await
}

/// `server/details` with this `server`.
async fn server(server: Value) -> Result<Details, ApiFailure> {
    details(&json!({"response": {"status": {"code": 200}, "server": server}}).to_string()).await
}

async fn allowed(body: &str, platform: &str) -> Vec<u32> {
    let server = Server::start(vec![Reply::ok(body)]).await;
    client(&server.url()).allowed_cores(platform).await.unwrap()
}

#[tokio::test]
async fn a_running_server() {
    assert_eq!(
        details(&fixture("details_running.json")).await.unwrap(),
        Details {
            cores: 2,
            memory_mb: Some(4096),
            platform: "KVM".to_owned(),
            addresses: vec![
                "192.0.2.10".parse().unwrap(),
                "2001:db8::10".parse().unwrap()
            ],
            locked: false,
            running: Some(true),
        }
    );
}

#[tokio::test]
async fn a_locked_server() {
    let server = details(&fixture("details_locked.json")).await.unwrap();
    assert_eq!((server.cores, server.locked), (4, true));
}

#[tokio::test]
async fn numbers_and_booleans_as_strings() {
    assert_eq!(
        details(&fixture("details_strings.json")).await.unwrap(),
        Details {
            cores: 2,
            memory_mb: Some(512),
            platform: "OpenVZ".to_owned(),
            addresses: vec!["192.0.2.10".parse().unwrap()],
            locked: false,
            running: Some(true),
        }
    );
}

#[tokio::test]
async fn booleans_in_every_form() {
    for (form, expected) in [
        (json!(true), true),
        (json!(false), false),
        (json!(1), true),
        (json!(0), false),
        (json!("1"), true),
        (json!("0"), false),
        (json!("yes"), true),
        (json!("no"), false),
        (json!("true"), true),
        (json!("false"), false),
        (json!("Yes"), true),
    ] {
        let body = json!({"cpucores": 2, "islocked": form, "isrunning": form});
        let server = server(body).await.unwrap();
        assert_eq!(server.locked, expected, "{form}");
        assert_eq!(server.running, Some(expected), "{form}");
    }
}

#[tokio::test]
async fn islocked_decides_and_the_states_stand_in_for_it() {
    for (state, locked) in [
        (
            json!({"islocked": false, "status": "updating", "state": "locked"}),
            false,
        ),
        (
            json!({"islocked": true, "status": "running", "state": "running"}),
            true,
        ),
        (json!({"status": "updating"}), true),
        (json!({"state": "locked"}), true),
        (json!({"status": " Updating\n", "state": "running"}), true),
        (json!({"islocked": null, "state": "locked"}), true),
        (json!({"islocked": "perhaps", "state": "locked"}), true),
        (json!({"isrunning": true, "status": "ready"}), false),
        (json!({"status": "running", "state": "running"}), false),
        (json!({"state": null}), false),
        (json!({}), false),
    ] {
        let mut body = state.clone();
        body["cpucores"] = json!(2);
        assert_eq!(server(body).await.unwrap().locked, locked, "{state}");
    }
}

#[tokio::test]
async fn what_is_missing_but_optional_is_no_error() {
    assert_eq!(
        server(json!({"cpucores": 1, "memorysize": -3, "iplist": [7, {}, "192.0.2.1"]}))
            .await
            .unwrap(),
        Details {
            cores: 1,
            memory_mb: None,
            platform: String::new(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            locked: false,
            running: None,
        }
    );
}

#[tokio::test]
async fn a_core_count_that_cannot_be_is_never_believed() {
    for count in [
        json!(null),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1025),
        json!(1e300),
        json!(18_446_744_073_709_551_615_u64),
        json!("0"),
        json!("two"),
        json!(""),
        json!("99999999999999999999999"),
        json!([2]),
        json!({"value": 2}),
        json!(true),
    ] {
        let failure = server(json!({"cpucores": count})).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{count}");
        assert!(failure.message.contains("cpucores"), "{failure:?}");
    }
    for count in [json!(1), json!("1024"), json!(" 2 ")] {
        assert!(server(json!({"cpucores": count})).await.is_ok(), "{count}");
    }
    assert!(server(json!([])).await.is_err());
    assert!(
        details(r#"{"response":{"status":{"code":200}}}"#)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn success_is_200_or_no_code() {
    for status in [
        json!({"code": 200}),
        json!({"code": "200"}),
        json!({"code": null}),
        json!({}),
        json!(null),
    ] {
        let body = json!({"response": {"status": status, "server": {"cpucores": 2}}}).to_string();
        assert_eq!(details(&body).await.unwrap().cores, 2, "{status}");
    }
    for code in [json!(201), json!("two hundred"), json!([200]), json!(200.5)] {
        let body = json!({"response": {"status": {"code": code}, "server": {"cpucores": 2}}});
        let failure = details(&body.to_string()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{code}");
    }
}

#[tokio::test]
async fn an_edit_is_accepted_whatever_its_record_says() {
    for body in [
        fixture("edit_accepted.json"),
        r#"{"response":{"status":{"code":200}}}"#.to_owned(),
        r#"{"response":{"status":{"code":"200"},"server":{"cpucores":"?"}}}"#.to_owned(),
        r#"{"response":{"server":{}}}"#.to_owned(),
    ] {
        let server = Server::start(vec![Reply::ok(&body)]).await;
        client(&server.url()).edit(4).await.unwrap();
    }
}

#[tokio::test]
async fn allowed_counts_in_both_shapes() {
    let now = fixture("allowed_platforms.json");
    assert_eq!(allowed(&now, "KVM").await, [1, 2, 4, 8]);
    assert_eq!(allowed(&now, "kvm").await, [1, 2, 4, 8]);
    assert_eq!(allowed(&now, "vmware").await, [1, 2, 3]);
    let then = fixture("allowed_2012.json");
    assert_eq!(allowed(&then, "OpenVZ").await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(allowed(&then, "XEN").await, [1, 2]);
}

#[tokio::test]
async fn allowed_counts_of_an_unknown_shape_are_none() {
    let now = fixture("allowed_platforms.json");
    assert_eq!(allowed(&now, "Hyper-V").await, [0; 0]);
    assert_eq!(allowed(&now, "").await, [0; 0]);
    for list in [
        json!(null),
        json!([]),
        json!("KVM"),
        json!({"platforms": {"KVM": {}}}),
        json!({"platforms": {"KVM": {"cpucores": "1-8"}}}),
        json!({"platforms": {"KVM": {"cpucores": {"min": 1, "max": 8}}}}),
        json!({"platforms": {"KVM": {"cpucores": [{"value": "many"}, {"value": -1}, null, 4096]}}}),
    ] {
        let body = json!({"response": {"status": {"code": 200}, "argumentslist": list}});
        assert_eq!(allowed(&body.to_string(), "KVM").await, [0; 0], "{list}");
    }
}
