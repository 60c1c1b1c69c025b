//! The emulator inside the program that calls it, as in `run --sandbox`: its beginning and end.

use super::{KEY, PROJECT, SERVER, client, send, until, world};
use glesys_autoscaler::sandbox::hotplug::Hotplug;
use glesys_autoscaler::sandbox::machine::PretendedCpus;
use glesys_autoscaler::sandbox::{Emulator, Key, Platform, Project, Server};
use serde_json::json;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test]
async fn it_serves_beside_its_client_until_dropped() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let list = || {
        client()
            .post(format!("http://{address}/server/list"))
            .basic_auth(PROJECT, Some(KEY))
            .json(&json!({}))
    };
    let serving = world().build().spawn(listener);
    assert_eq!(send(list()).await.http, 200);
    drop(serving);
    // The task ends at its next turn.
    let refused = async {
        while list().send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), refused).await;
    assert!(ended.is_ok(), "it is served for ever");
}

/// Nobody calls the emulator here: it waits for nothing in particular, and the hand must wake it.
#[tokio::test]
async fn a_change_from_outside_reaches_the_guest_unasked() {
    let guest = PretendedCpus::new(1);
    let (emulator, access) = Emulator::sandbox(guest.clone(), 1, 4, 2048).unwrap();
    let handle = emulator.handle();
    handle.platform("KVM", |p| p.lock_time = Duration::from_millis(20));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let _serving = emulator.spawn(listener);
    // On this runtime's one thread: after it, the server is at rest.
    tokio::time::sleep(Duration::from_millis(20)).await;
    handle.set_cores(access.server_id, 4).unwrap();
    until(|| guest.guest().online == 4).await;
}

/// From the edit to the switch of the CPU, and back when nothing holds the emulator any more.
#[tokio::test]
async fn cpus_that_an_edit_took_come_back_with_the_end() {
    let sysfs = tempfile::tempdir().unwrap();
    let switch = sysfs.path().join("cpu1").join("online");
    fs::create_dir(sysfs.path().join("cpu1")).unwrap();
    for (path, text) in [
        (sysfs.path().join("online"), "0-1\n"),
        (sysfs.path().join("present"), "0-1\n"),
        (switch.clone(), "1\n"),
    ] {
        fs::write(path, text).unwrap();
    }
    let state = || fs::read_to_string(&switch).unwrap().trim().to_owned();

    let mut platform = Platform::up_to(2);
    platform.lock_time = Duration::from_millis(20);
    let server = Server::new(SERVER, 2).machine(Hotplug::new(sysfs.path()).unwrap());
    let project = Project::new(PROJECT)
        .key(Key::for_loopback(KEY))
        .server(server);
    let emulator = Emulator::builder()
        .platform("KVM", platform)
        .project(project)
        .build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = emulator.spawn(listener);
    drop(emulator);

    let edit = client()
        .post(format!("http://{address}/server/edit"))
        .basic_auth(PROJECT, Some(KEY))
        .json(&json!({"serverid": SERVER, "cpucores": 1}));
    assert_eq!(send(edit).await.http, 200);
    until(|| state() == "0").await;
    drop(serving);
    until(|| state() == "1").await;
}
