//! Keys, their address list and function list, and the walls between projects.

use super::{KEY, PROJECT, SERVER, call, client, send, served, served::Served, world};
use glesys_autoscaler::sandbox::{
    Emulator, Function, Key, PermissionAnswer, Project, Server, UnknownServer,
};
use serde_json::json;
use std::net::Ipv4Addr;

async fn list_as(served: &Served, project: &str, key: &str) -> (u16, u64, String) {
    let request = client()
        .get(format!("{}/server/list/format/json", served.url))
        .basic_auth(project, Some(key));
    let answer = send(request).await;
    let text = answer.text().to_owned();
    (answer.http, answer.code, text)
}

#[tokio::test]
async fn only_the_right_key_opens_a_project() {
    let served = served();
    for (project, key, http) in [
        (PROJECT, KEY, 200),
        ("CL12345", KEY, 200),
        (PROJECT, "wrong", 401),
        (PROJECT, "", 401),
        // A key belongs to one project.
        (PROJECT, "other", 401),
        ("cl99999", KEY, 401),
        ("cl00001", KEY, 401),
    ] {
        let (status, code, text) = list_as(&served, project, key).await;
        assert_eq!((status, code), (http, u64::from(http)), "{project} {key}");
        assert!(
            http == 200 || text.starts_with("Authentication failed."),
            "{text}"
        );
    }
    let nobody = client().get(format!("{}/server/list/format/json", served.url));
    assert_eq!(send(nobody).await.http, 401);
}

#[tokio::test]
async fn a_key_can_be_withdrawn_and_restored() {
    let served = served();
    assert!(served.withdraw_key(KEY));
    assert_eq!(list_as(&served, PROJECT, KEY).await.0, 401);
    assert!(served.restore_key(KEY));
    assert_eq!(list_as(&served, PROJECT, KEY).await.0, 200);
    assert!(!served.withdraw_key("wrong"));
}

/// What a key without the right meets, in both ways in which the service may answer.
#[tokio::test]
async fn address_and_function_are_refused_as_the_switch_says() {
    for (answer, http) in [
        (PermissionAnswer::Unauthorized, 401),
        (PermissionAnswer::Forbidden, 403),
    ] {
        for (address, function, allowed) in [
            ("127.0.0.1", Function::List, true),
            ("127.0.0.0/8", Function::List, true),
            ("0.0.0.0/0", Function::List, true),
            ("127.0.0.2", Function::List, false),
            ("10.0.0.0/8", Function::List, false),
            ("::1", Function::List, false),
            ("127.0.0.1", Function::Details, false),
        ] {
            let key = Key::new("k").from(address.parse().unwrap()).may(function);
            let served = Served::over_http(
                Emulator::builder()
                    .project(Project::new(PROJECT).key(key))
                    .build(),
            );
            served.switch(|s| s.permission_answer = answer);
            let expected = if allowed { 200 } else { http };
            let (status, code, text) = list_as(&served, PROJECT, "k").await;
            assert_eq!(
                (status, code),
                (expected, u64::from(expected)),
                "{address} {function}: {text}"
            );
            assert!(!text.starts_with("Authentication"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_new_key_opens_nothing_and_can_be_opened_while_serving() {
    let served = Served::over_http(
        Emulator::builder()
            .project(Project::new(PROJECT).key(Key::new("k")))
            .build(),
    );
    assert_eq!(list_as(&served, PROJECT, "k").await.0, 401);
    assert!(served.key("k", |k| k.addresses.push("127.0.0.1".parse().unwrap())));
    assert_eq!(list_as(&served, PROJECT, "k").await.0, 401);
    assert!(served.key("k", |k| {
        k.functions.insert(Function::List);
    }));
    assert_eq!(list_as(&served, PROJECT, "k").await.0, 200);
}

#[tokio::test]
async fn a_function_can_be_left_out() {
    let key = Key::for_loopback("k").may_not(Function::AllowedArguments);
    let project = Project::new("cl1").key(key).server(Server::new("kvm1", 1));
    let served = Served::over_http(Emulator::builder().project(project).build());
    for (path, http) in [("server/allowedarguments", 401), ("server/list", 200)] {
        let request = client()
            .post(format!("{}/{path}", served.url))
            .basic_auth("cl1", Some("k"))
            .json(&json!({}));
        assert_eq!(send(request).await.http, http, "{path}");
    }
}

#[tokio::test]
async fn servers_of_other_projects_do_not_exist() {
    let served = served();
    for (switch, http) in [
        (UnknownServer::BadRequest, 400),
        (UnknownServer::NotFound, 404),
    ] {
        served.switch(|s| s.unknown_server = switch);
        for id in ["kvm999999", "kvm000000", ""] {
            for (path, body) in [
                ("server/details", json!({"serverid": id})),
                ("server/allowedarguments", json!({"serverid": id})),
                ("server/edit", json!({"serverid": id, "cpucores": 4})),
            ] {
                let answer = call(&served, path, body).await;
                assert_eq!(answer.numbers(), (http, u64::from(http)), "{path} {id}");
                assert_eq!(
                    answer.text(),
                    "Could not find server with this id on this account."
                );
            }
        }
    }
    assert_eq!(served.cores("kvm999999"), Ok(1));
    assert_eq!(served.cores(SERVER), Ok(2));
}

/// `run --sandbox`: its own key opens it, and there is no other.
#[tokio::test]
async fn the_sandbox_opens_to_its_own_key() {
    use glesys_autoscaler::sandbox::machine::PretendedCpus;
    use secrecy::ExposeSecret;

    let (emulator, access) = Emulator::sandbox(PretendedCpus::new(1), 1, 4, 2048).unwrap();
    let (_, another) = Emulator::sandbox(PretendedCpus::new(1), 1, 4, 2048).unwrap();
    let served = Served::over_http(emulator);
    let key = access.key.expose_secret();
    assert_eq!(list_as(&served, access.project, key).await.0, 200);
    let foreign = another.key.expose_secret();
    assert_eq!(list_as(&served, access.project, foreign).await.0, 401);

    let details = client()
        .post(format!("{}/server/details", served.url))
        .basic_auth(access.project, Some(key))
        .json(&json!({"serverid": access.server_id}));
    let server = &send(details).await.response["server"];
    assert_eq!(server["memorysize"], 2048);
    let addresses: Vec<_> = server["iplist"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["ipaddress"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, [Ipv4Addr::LOCALHOST.to_string().as_str(), "::1"]);
    assert!(!format!("{access:?}").contains(key), "the key is shown");
}

#[tokio::test]
async fn the_key_is_in_no_debug_output() {
    let builder = world();
    assert!(!format!("{builder:?}").contains(KEY));
    let served = Served::over_http(builder.build());
    list_as(&served, PROJECT, KEY).await;
    let calls = served.calls();
    assert_eq!(calls.len(), 1);
    assert!(!format!("{calls:?}").contains(KEY));
}
