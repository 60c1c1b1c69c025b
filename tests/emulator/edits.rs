//! What an edit does to the server and to the guest, and what keeps it from happening.

use super::{Answer, SERVER, call, served, served::Served, until};
use glesys_autoscaler::engine::sample::GuestCpus;
use glesys_autoscaler::sandbox::machine::{GuestMode, PretendedCpus};
use glesys_autoscaler::sandbox::{
    Behaviour, Emulator, Function, Key, LockAnswer, Platform, Project, Server,
};
use serde_json::{Value, json};
use std::time::Duration;

async fn edit(served: &Served, id: &str, cores: impl Into<Value>) -> Answer {
    let body = json!({"serverid": id, "cpucores": cores.into()});
    call(served, "server/edit", body).await
}

async fn details(served: &Served, id: &str) -> Value {
    let asked = json!({"serverid": id, "includestate": "yes"});
    call(served, "server/details", asked).await.response["server"].clone()
}

#[tokio::test]
async fn an_edit_is_answered_with_the_record_and_locks() {
    let served = served();
    let answer = edit(&served, SERVER, 4).await;
    assert_eq!(answer.numbers(), (200, 200));
    assert_eq!(answer.response["server"]["cpucores"], 4);
    assert_eq!(answer.response["server"].get("islocked"), None);

    let server = details(&served, SERVER).await;
    assert_eq!(server["cpucores"], 4);
    assert_eq!(server["islocked"], true);
    assert_eq!(server["isrunning"], true);
    assert_eq!(
        (&server["status"], &server["state"]),
        (&json!("updating"), &json!("locked"))
    );
    let other = details(&served, "wps654321").await;
    assert_eq!(other["islocked"], false);
}

#[tokio::test]
async fn a_locked_server_takes_no_edit() {
    for (switch, http, code, text) in [
        (LockAnswer::Forbidden, 403, 403, "The server is locked."),
        (LockAnswer::Code606, 500, 606, "Server Locked\n"),
    ] {
        let served = served();
        served.switch(|s| s.lock_answer = switch);
        served.lock(SERVER, Duration::from_secs(3600)).unwrap();
        let refused = edit(&served, SERVER, 4).await;
        assert_eq!(refused.numbers(), (http, code));
        assert_eq!(refused.text(), text);
        assert_eq!(served.cores(SERVER), Ok(2));

        served.unlock(SERVER).unwrap();
        assert_eq!(edit(&served, SERVER, 4).await.http, 200);
        assert_eq!(edit(&served, SERVER, 2).await.http, http);
        assert_eq!(served.cores(SERVER), Ok(4));
    }
}

#[tokio::test]
async fn an_illegal_count_changes_nothing() {
    let served = served();
    served.platform("KVM", |p| p.allowed = vec![1, 2, 4]);
    for cores in [
        json!(0),
        json!(3),
        json!(5),
        json!(-1),
        json!(4.0),
        json!("three"),
        json!(""),
        json!(null),
        json!([4]),
        json!(4_294_967_300_u64),
        json!("99999999999999999999"),
    ] {
        let answer = edit(&served, SERVER, cores.clone()).await;
        assert_eq!(answer.numbers(), (400, 400), "{cores}");
        assert!(answer.text().contains("cpucores"), "{}", answer.text());
        let server = details(&served, SERVER).await;
        assert_eq!(
            (&server["cpucores"], &server["islocked"]),
            (&json!(2), &json!(false)),
            "{cores}"
        );
    }
    // Nor does anything that comes along with it.
    let mixed = json!({"serverid": SERVER, "cpucores": 3, "hostname": "new", "memorysize": 8192});
    assert_eq!(call(&served, "server/edit", mixed).await.http, 400);
    let mixed = json!({"serverid": SERVER, "cpucores": 4, "memorysize": "much"});
    assert_eq!(call(&served, "server/edit", mixed).await.http, 400);
    let server = details(&served, SERVER).await;
    assert_eq!(
        [
            &server["hostname"],
            &server["memorysize"],
            &server["cpucores"]
        ],
        [&json!("web1"), &json!(4096), &json!(2)]
    );
}

#[tokio::test]
async fn what_is_not_sent_stays() {
    let served = served();
    let before = details(&served, SERVER).await;
    let body =
        json!({"serverid": SERVER, "hostname": "new", "memorysize": "8192", "description": "d"});
    let after = call(&served, "server/edit", body).await;
    let mut expected = before.clone();
    expected["hostname"] = json!("new");
    expected["memorysize"] = json!(8192);
    expected["description"] = json!("d");
    assert_eq!(details(&served, SERVER).await, expected);
    assert_eq!(after.response["server"]["cpucores"], 2);
    // The same count again is no work for the platform.
    assert_eq!(edit(&served, SERVER, 2).await.http, 200);
    assert_eq!(served.locked(SERVER), Ok(false));
}

/// The switches of one direction and one platform leave the others alone.
#[tokio::test]
async fn a_refusing_direction_refuses_only_itself() {
    for (refusing_up, target, refused) in [
        (true, 4, true),
        (true, 1, false),
        (false, 1, true),
        (false, 4, false),
    ] {
        let served = served();
        served.platform("KVM", |p| match refusing_up {
            true => p.up = Behaviour::Refusing,
            false => p.down = Behaviour::Refusing,
        });
        let answer = edit(&served, SERVER, target).await;
        let expected = if refused { (500, 610) } else { (200, 200) };
        assert_eq!(answer.numbers(), expected, "{refusing_up} {target}");
        assert_eq!(served.cores(SERVER), Ok(if refused { 2 } else { target }));
        assert_eq!(served.locked(SERVER), Ok(!refused));
        assert_eq!(edit(&served, "wps654321", target).await.http, 200);
    }
}

/// A guest behind a server whose platform is quick.
fn quick(change: impl FnOnce(&mut Platform)) -> (Served, PretendedCpus) {
    let guest = PretendedCpus::new(2);
    let mut platform = Platform::up_to(8);
    platform.lock_time = Duration::from_millis(50);
    change(&mut platform);
    let project = Project::new(super::PROJECT)
        .key(Key::for_loopback(super::KEY))
        .server(Server::new(SERVER, 2).machine(guest.clone()));
    let emulator = Emulator::builder()
        .platform("KVM", platform)
        .project(project);
    (Served::over_http(emulator.build()), guest)
}

/// Without a call in between: the emulator keeps its own time.
#[tokio::test]
async fn the_guest_changes_by_itself_once_the_lock_is_over() {
    let (served, guest) = quick(|_| {});
    for cores in [4, 1] {
        edit(&served, SERVER, cores).await;
        until(|| guest.guest().online == cores).await;
        assert_eq!(served.locked(SERVER), Ok(false));
    }
    assert_eq!(guest.boots(), 0);
}

#[tokio::test]
async fn a_rebooting_platform_reboots_the_guest() {
    let (served, guest) = quick(|p| p.up = Behaviour::Rebooting);
    edit(&served, SERVER, 4).await;
    until(|| guest.boots() == 1).await;
    assert_eq!((guest.guest().online, served.reboots(SERVER)), (4, Ok(1)));
}

#[tokio::test]
async fn a_pending_change_waits_for_the_reboot() {
    let (served, guest) = quick(|p| p.up = Behaviour::PendingUntilReboot);
    edit(&served, SERVER, 4).await;
    until(|| served.locked(SERVER) == Ok(false)).await;
    assert_eq!((served.cores(SERVER), guest.guest().online), (Ok(4), 2));
    served.reboot(SERVER).unwrap();
    assert_eq!(guest.guest().online, 4);
}

#[tokio::test]
async fn new_cores_may_stay_offline_in_the_guest() {
    let (served, guest) = quick(|_| {});
    guest.set_mode(GuestMode::StaysOffline);
    edit(&served, SERVER, 4).await;
    until(|| guest.guest().present == 4).await;
    assert_eq!(
        guest.guest(),
        GuestCpus {
            online: 2,
            present: 4
        }
    );
}

/// An operator in the control panel: no legal count is asked for, and the guest follows.
#[tokio::test]
async fn a_change_from_outside_locks_and_reaches_the_guest() {
    let (served, guest) = quick(|p| {
        p.lock_time = Duration::from_secs(3600);
        p.allowed = vec![1, 2];
    });
    served.set_cores(SERVER, 3).unwrap();
    let server = details(&served, SERVER).await;
    assert_eq!(
        (&server["cpucores"], &server["islocked"]),
        (&json!(3), &json!(true))
    );
    served.reboot(SERVER).unwrap();
    assert_eq!(guest.guest().online, 3);
    assert!(served.set_cores("kvm000000", 3).is_err());
    assert!(
        served.calls_of(Function::Edit).is_empty(),
        "the panel is no API call"
    );
}

#[tokio::test]
async fn the_log_has_every_call_in_order() {
    let served = served();
    edit(&served, SERVER, 4).await;
    edit(&served, SERVER, 2).await;
    details(&served, SERVER).await;
    call(&served, "server/nothing", json!({})).await;
    let seen: Vec<_> = served
        .calls()
        .into_iter()
        .map(|c| (c.path, c.http, c.code, Value::Object(c.arguments)))
        .collect();
    let both = |n: u16| (Some(n), Some(n));
    let row = |path: &str, (http, code), arguments| (path.to_owned(), http, code, arguments);
    assert_eq!(
        seen,
        [
            row(
                "server/edit",
                both(200),
                json!({"serverid": SERVER, "cpucores": 4})
            ),
            row(
                "server/edit",
                both(403),
                json!({"serverid": SERVER, "cpucores": 2})
            ),
            row(
                "server/details",
                both(200),
                json!({"serverid": SERVER, "includestate": "yes"})
            ),
            row("server/nothing", both(404), json!({})),
        ]
    );
    let calls = served.calls();
    assert!(calls.is_sorted_by_key(|c| c.at));
    assert!(calls.iter().all(|c| c.peer.is_loopback()));
    assert_eq!(served.calls_of(Function::Edit).len(), 2);
    served.clear_calls();
    assert!(served.calls().is_empty());
}
