//! The functions, the ways of passing arguments, and the forms of an answer.

use super::{KEY, PROJECT, SERVER, call, client, post, send, served};
use glesys_autoscaler::sandbox::{Numbers, Shape};
use serde_json::{Value, json};

#[tokio::test]
async fn details_show_the_server_and_its_state_only_when_asked() {
    let served = served();
    let plain = call(&served, "server/details", json!({"serverid": SERVER})).await;
    assert_eq!(plain.numbers(), (200, 200));
    let server = &plain.response["server"];
    assert_eq!(server["serverid"], SERVER);
    assert_eq!(server["hostname"], "web1");
    assert_eq!(server["cpucores"], 2);
    assert_eq!(server["memorysize"], 4096);
    assert_eq!(server["platform"], "KVM");
    assert_eq!(
        server["iplist"],
        json!([
            {"ipaddress": "192.0.2.10", "version": 4},
            {"ipaddress": "2001:db8::10", "version": 6},
        ])
    );
    for field in ["isrunning", "islocked", "status", "state"] {
        assert_eq!(server.get(field), None, "{field} came unasked");
    }

    for yes in [
        json!("yes"),
        json!("true"),
        json!("1"),
        json!(true),
        json!(1),
    ] {
        let asked = json!({"serverid": SERVER, "includestate": yes});
        let server = &call(&served, "server/details", asked).await.response["server"];
        assert_eq!(
            state(server),
            json!([true, false, "running", "running"]),
            "{yes}"
        );
    }
    let asked = json!({"serverid": SERVER, "includestate": "no"});
    let server = &call(&served, "server/details", asked).await.response["server"];
    assert_eq!(server.get("islocked"), None);

    served.set_running(SERVER, false).unwrap();
    let asked = json!({"serverid": SERVER, "includestate": "yes"});
    let server = &call(&served, "server/details", asked).await.response["server"];
    assert_eq!(state(server), json!([false, false, "ready", "stopped"]));
}

fn state(server: &Value) -> Value {
    json!([
        server["isrunning"],
        server["islocked"],
        server["status"],
        server["state"]
    ])
}

#[tokio::test]
async fn the_list_has_the_servers_of_the_project_and_no_other() {
    let served = served();
    let answer = call(&served, "server/list", json!({})).await;
    let ids: Vec<&Value> = answer.response["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["serverid"])
        .collect();
    assert_eq!(ids, [SERVER, "wps654321"]);
    assert_eq!(answer.response["servers"][1]["platform"], "VMware");
}

#[tokio::test]
async fn allowed_arguments_come_in_both_shapes() {
    let served = served();
    served.platform("KVM", |p| p.allowed = vec![1, 2, 4]);
    served.platform("VMware", |p| p.allowed = vec![2]);
    served.switch(|s| s.core_price = 30.0);

    let now = call(&served, "server/allowedarguments", json!({})).await;
    assert_eq!(
        now.response["argumentslist"],
        json!({"platforms": {
            "KVM": {"cpucores": [{"value": 1}, {"value": 2}, {"value": 4}]},
            "VMware": {"cpucores": [{"value": 2}]},
        }})
    );
    served.switch(|s| s.shape = Shape::Units);
    let cost = json!({"amount": 30.0, "currency": "SEK", "timeperiod": "month"});
    let then = call(&served, "server/allowedarguments", json!({})).await;
    assert_eq!(
        then.response["argumentslist"],
        json!({
            "KVM": {"cpucores": {"units": [1, 2, 4], "costperunit": cost}},
            "VMware": {"cpucores": {"units": [2], "costperunit": cost}},
        })
    );
    let one = json!({"serverid": "wps654321"});
    let one = call(&served, "server/allowedarguments", one).await;
    let platforms = one.response["argumentslist"].as_object().unwrap();
    assert_eq!(platforms.keys().collect::<Vec<_>>(), ["VMware"]);
}

/// Each way of passing arguments, and each way of asking for JSON, over the wire.
#[tokio::test]
async fn every_form_of_a_request_is_understood() {
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    for (path, content_type, accept, body) in [
        ("server/edit", FORM, JSON, "serverid=kvm123456&cpucores=4"),
        (
            "server/edit/",
            FORM,
            "*/*",
            "serverid=kvm123456&cpucores=4&format=json",
        ),
        (
            "server/edit",
            JSON,
            JSON,
            r#"{"serverid":"kvm123456","cpucores":4}"#,
        ),
        (
            "server/edit",
            JSON,
            "*/*",
            r#"{"serverid":"kvm123456","cpucores":"4"}"#,
        ),
        ("server/edit/serverid/kvm123456/cpucores/4", FORM, JSON, ""),
        (
            "server/edit/serverid/kvm123456/cpucores/4/format/json",
            FORM,
            "*/*",
            "",
        ),
        ("server/edit?serverid=kvm123456&cpucores=4", FORM, JSON, ""),
        (
            "server/edit?serverid=kvm123456&cpucores=4&format=json",
            FORM,
            "*/*",
            "",
        ),
    ] {
        let served = served();
        let request = client()
            .post(format!("{}/{path}", served.url))
            .basic_auth(PROJECT, Some(KEY))
            .header("content-type", content_type)
            .header("accept", accept)
            .body(body);
        let answer = send(request).await;
        assert_eq!(answer.numbers(), (200, 200), "{path} {body}");
        assert_eq!(answer.response["server"]["cpucores"], 4, "{path} {body}");
        assert_eq!(answer.response["debug"]["input"]["serverid"], SERVER);
        assert_eq!(served.cores(SERVER), Ok(4), "{path} {body}");
    }
}

#[tokio::test]
async fn reading_takes_get_and_editing_does_not() {
    let served = served();
    for (path, expected) in [
        ("server/details?serverid=kvm123456", (200, 200)),
        ("server/list", (200, 200)),
        ("server/allowedarguments", (200, 200)),
        ("server/edit?serverid=kvm123456&cpucores=4", (405, 405)),
    ] {
        let request = client()
            .get(format!("{}/{path}", served.url))
            .basic_auth(PROJECT, Some(KEY))
            .header("accept", "application/json");
        assert_eq!(send(request).await.numbers(), expected, "{path}");
    }
    assert_eq!(served.cores(SERVER), Ok(2));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_the_reason() {
    let served = served();
    for (path, body, http, reason) in [
        ("", json!({}), 404, "server/details"),
        ("server", json!({}), 404, "server/details"),
        ("server/destroy", json!({}), 404, "server/destroy"),
        ("Server/Details", json!({}), 404, "Server/Details"),
        ("server/details", json!({}), 400, "serverid"),
        ("server/details/serverid", json!({}), 400, "serverid"),
        (
            "server/details",
            json!({"serverid": SERVER, "colour": "red"}),
            400,
            "colour",
        ),
        ("server/details", json!(["serverid"]), 400, "object"),
        (
            "server/details",
            json!({"x": "y".repeat(65 * 1024)}),
            413,
            "long",
        ),
    ] {
        let answer = call(&served, path, body).await;
        assert_eq!(answer.numbers(), (http, u64::from(http)), "{path}");
        assert!(answer.text().contains(reason), "{}", answer.text());
    }

    let without_json = client()
        .post(format!("{}/server/list", served.url))
        .basic_auth(PROJECT, Some(KEY));
    let answer = send(without_json).await;
    assert_eq!(answer.http, 406);
    assert!(answer.text().contains("Accept: application/json"));
}

#[tokio::test]
async fn numbers_are_plain_or_quoted() {
    let served = served();
    let asked = json!({"serverid": SERVER});
    let plain = call(&served, "server/details", asked.clone())
        .await
        .response;
    served.switch(|s| s.numbers = Numbers::Quoted);
    let quoted = call(&served, "server/details", asked.clone())
        .await
        .response;
    for (path, value, text) in [
        ("/status/code", json!(200), "200"),
        ("/server/cpucores", json!(2), "2"),
        ("/server/memorysize", json!(4096), "4096"),
        ("/server/iplist/0/version", json!(4), "4"),
    ] {
        assert_eq!(plain.pointer(path), Some(&value), "{path}");
        assert_eq!(quoted.pointer(path), Some(&json!(text)), "{path}");
    }
    let list = call(&served, "server/allowedarguments", json!({}))
        .await
        .response;
    let values = &list["argumentslist"]["platforms"]["KVM"]["cpucores"];
    assert_eq!(values[0], json!({"value": "1"}));
}

#[tokio::test]
async fn the_envelope_is_as_recorded() {
    let served = served();
    let answer = send(post(&served, "server/list", &json!({})))
        .await
        .response;
    assert_eq!(answer["status"]["text"], "OK");
    assert_eq!(answer["status"]["transactionid"], Value::Null);
    assert_eq!(answer["debug"]["input"], json!([]));
    let timestamp = answer["status"]["timestamp"].as_str().unwrap();
    let parsed: jiff::Timestamp = timestamp.parse().unwrap();
    assert!(parsed > jiff::Timestamp::UNIX_EPOCH, "{timestamp}");
    assert!(
        timestamp.len() == "2026-03-30T15:44:07+02:00".len()
            && (timestamp.ends_with("+02:00") || timestamp.ends_with("+01:00")),
        "{timestamp}"
    );
}
