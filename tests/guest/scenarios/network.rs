//! The wire, names, certificates, the key.

use crate::api::{HOST, KEY, SERVER};
use crate::bed::{Bed, Prepared};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use rcgen::CertificateParams;
use std::time::Duration;

/// A daemon that sees one core and has been idle so far.
fn idle(name: &str) -> Bed {
    let bed = Bed::installed(name);
    bed.start();
    bed.until_status("idle", |status| {
        status["cores"] == 1 && status["cores_known"] == true && status["wants"].is_null()
    });
    bed
}

/// What the daemon says of the one trouble with the API that there was.
fn told_once(bed: &Bed) -> String {
    let errors = bed.events("api_error");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0]["MESSAGE"].as_str().unwrap().to_owned()
}

/// One edit, to 3 cores, and one record of it.
fn one_raise(bed: &Bed) {
    assert_eq!(bed.api.edits().len(), 1, "{:?}", bed.api.edits());
    assert_eq!(bed.results(), ["applied"]);
}

/// The wire is cut when the load comes, and with it goes the guest's address. The raise waits, is
/// told once, and follows when the wire is back.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn wire_cut_before_an_edit() {
    let bed = idle("wire_cut_before_an_edit");
    bed.platform.wire(false);
    bed.load(4);
    let told = || bed.events("held").len() + bed.events("api_error").len();
    bed.until("it is told", || told() > 0);
    bed.until_status("wanting more", |s| s["wants"] == 3);
    assert_eq!(bed.api.edits(), []);
    assert_eq!(told(), 1);
    bed.platform.wire(true);
    bed.until_cores(3);
    one_raise(&bed);
    bed.holds();
}

/// The edit is carried out, and its answer never arrives. What the API shows decides. The edit is
/// told of once; the reads, which may fail too before the wire is back, at most once.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn wire_cut_during_an_edit() {
    let bed = idle("wire_cut_during_an_edit");
    let slow = Fault::DelayAfter(Duration::from_secs(30));
    bed.api.inject(Function::Edit, slow, Times::Next(1));
    bed.load(4);
    bed.until("the edit has arrived", || bed.api.cores(SERVER) == Ok(3));
    bed.platform.wire(false);
    bed.until_events("api_error", 1);
    bed.platform.wire(true);
    bed.until_cores(3);
    let (edits, reads): (Vec<_>, Vec<_>) = bed
        .events("api_error")
        .into_iter()
        .partition(|error| error.get("DECISION_ID").is_some());
    assert_eq!(edits.len(), 1, "{edits:#?}");
    assert!(reads.len() <= 1, "{reads:#?}");
    one_raise(&bed);
    bed.holds();
}

/// The edit was accepted, and the VM cannot see for half a minute what becomes of it.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn wire_cut_after_an_edit() {
    let bed = idle("wire_cut_after_an_edit");
    bed.api.locks_for(20);
    bed.load(4);
    bed.until_events("scale_up", 1);
    bed.until("the edit is answered", || {
        bed.api.edits() == [(3, Some(200))]
    });
    bed.platform.wire(false);
    bed.until_events("api_error", 1);
    bed.platform.wire(true);
    bed.until_cores(3);
    one_raise(&bed);
    bed.holds();
}

/// The API's name can no longer be looked up.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn dns_gone() {
    let bed = idle("dns_gone");
    bed.shell
        .run(&format!("sed -i s/{HOST}/gone.example/ /etc/hosts"));
    bed.load(4);
    bed.until_events("api_error", 1);
    assert_eq!(bed.api.edits(), []);
    bed.shell
        .run(&format!("sed -i s/gone.example/{HOST}/ /etc/hosts"));
    bed.until_cores(3);
    let message = told_once(&bed);
    assert!(message.contains(HOST), "{message}");
    one_raise(&bed);
    bed.holds();
}

/// The certificate has expired; then it is for another name; then it is right again. Nothing is
/// sent meanwhile, the key least of all.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn certificate_expired_or_for_another_name() {
    let mut bed = idle("certificate_expired_or_for_another_name");
    let ca = &Prepared::get().ca;
    let named = |name: &str| CertificateParams::new(vec![name.to_owned()]).unwrap();

    let mut expired = named(HOST);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    bed.api.shows(ca, expired);
    let calls = bed.api.calls().len();
    bed.load(4);
    let line = bed.until_events("api_error", 1);
    let message = line["MESSAGE"].as_str().unwrap();
    assert!(message.contains("expired"), "{message}");

    bed.api.shows(ca, named("other.example"));
    bed.until_status("another try", |status| {
        let trouble = status["api_trouble"].as_str().unwrap_or_default();
        trouble.contains("its certificate is for another name")
    });
    assert_eq!(bed.api.calls().len(), calls, "a call went out");

    bed.api.shows(ca, named(HOST));
    bed.until_cores(3);
    one_raise(&bed);
    bed.holds();
}

/// The key is withdrawn while the daemon runs. It says so once, asks seldom, and goes on when it
/// is given back.
#[test]
#[ignore = "boots a guest: tests/guest/run"]
fn key_withdrawn_and_given_back() {
    let bed = idle("key_withdrawn_and_given_back");
    bed.api.withdraw_key(KEY);
    bed.load(4);
    bed.until_events("api_error", 1);
    bed.until_status("waiting for the API", |s| s["waits_for"] == "api_down");
    let message = told_once(&bed);
    assert!(message.contains("key"), "{message}");
    bed.api.restore_key(KEY);
    bed.until_cores(3);
    assert_eq!(bed.api.cores(SERVER), Ok(3));
    bed.until_events("recovered", 1);
    bed.holds();
}
