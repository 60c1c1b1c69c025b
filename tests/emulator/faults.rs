//! Injected faults, as the client of an edit meets them.

use super::{SERVER, call, post, served, served::Served, until};
use glesys_autoscaler::sandbox::{Fault, Function, Times};
use serde_json::{Value, json};
use std::time::Duration;

/// What a client makes of an answer.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// A whole envelope, with HTTP status and code.
    Whole(u16, u64),
    /// A whole body that is no JSON, with this HTTP status.
    NoJson(u16),
    /// The head came, the body broke off.
    Broken(u16),
    /// More than a client should ever read.
    Endless(u16),
    /// Nothing came before the connection closed.
    Nothing,
}

async fn edit(served: &Served) -> Outcome {
    let body = json!({"serverid": SERVER, "cpucores": 4});
    let mut answer = match post(served, "server/edit", &body).send().await {
        Ok(answer) => answer,
        Err(e) => {
            assert!(!e.is_timeout(), "the emulator hung");
            return Outcome::Nothing;
        }
    };
    let http = answer.status().as_u16();
    let mut body = Vec::new();
    while body.len() < 1_000_000 {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => {
                let parsed = serde_json::from_slice::<Value>(&body);
                return match parsed {
                    Ok(envelope) => {
                        let code = envelope["response"]["status"]["code"].as_u64();
                        Outcome::Whole(http, code.unwrap_or(0))
                    }
                    Err(_) => Outcome::NoJson(http),
                };
            }
            Err(_) => {
                assert!(!body.is_empty(), "it broke before the body began");
                return Outcome::Broken(http);
            }
        }
    }
    Outcome::Endless(http)
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// One row a fault: what the client sees, and whether the edit was carried out.
#[tokio::test]
async fn every_fault_does_what_it_says() {
    use Outcome::{Broken, Endless, NoJson, Nothing, Whole};
    for (fault, outcome, applied) in [
        (Fault::DropBefore, Nothing, false),
        (Fault::DropAfter, Nothing, true),
        (Fault::DelayBefore(SHORT), Whole(200, 200), true),
        (Fault::DelayAfter(SHORT), Whole(200, 200), true),
        (Fault::apply_failed(), Whole(500, 608), false),
        (Fault::option_refused(), Whole(500, 610), false),
        (Fault::no_room(), Whole(500, 617), false),
        (Fault::account_limit(), Whole(500, 618), false),
        (Fault::hypervisor_down(), Whole(500, 619), false),
        (Fault::managed_server(), Whole(405, 405), false),
        (Fault::wrong_account(), Whole(419, 419), false),
        (Fault::unauthorized(), Whole(401, 401), false),
        (Fault::invalid_value(), Whole(400, 400), false),
        (Fault::too_many_requests(Some(7)), Whole(429, 429), false),
        (Fault::unavailable(None), Whole(503, 503), false),
        (Fault::http(502, "Bad gateway"), Whole(502, 502), false),
        (Fault::HtmlBody(502), NoJson(502), true),
        (Fault::HtmlBody(200), NoJson(200), true),
        (Fault::CutBody, Broken(200), true),
        (Fault::EmptyBody, NoJson(200), true),
        (Fault::EndlessBody, Endless(200), true),
    ] {
        let served = served();
        served.inject(Function::Edit, fault.clone(), Times::Next(1));
        assert_eq!(edit(&served).await, outcome, "{fault:?}");
        let cores = if applied { 4 } else { 2 };
        assert_eq!(served.cores(SERVER), Ok(cores), "{fault:?}");
        let calls = served.calls();
        assert_eq!(calls.len(), 1, "{fault:?}");
        let logged = match outcome {
            Nothing => None,
            Whole(http, _) | NoJson(http) | Broken(http) | Endless(http) => Some(http),
        };
        assert_eq!(calls[0].http, logged, "{fault:?}");
        assert_eq!(calls[0].fault.as_ref(), Some(&fault));
    }
}

/// A client that gives up while it waits.
#[tokio::test]
async fn a_delay_comes_before_or_after_the_edit() {
    for (fault, cores) in [(Fault::DelayBefore(LONG), 2), (Fault::DelayAfter(LONG), 4)] {
        let served = served();
        served.inject(Function::Edit, fault.clone(), Times::Next(1));
        let body = json!({"serverid": SERVER, "cpucores": 4});
        let waiting = tokio::spawn(post(&served, "server/edit", &body).send());
        until(|| served.calls().len() == 1 && served.cores(SERVER) == Ok(cores)).await;
        assert!(!waiting.is_finished(), "{fault:?}");
        waiting.abort();
        assert_eq!(call(&served, "server/list", json!({})).await.http, 200);
        assert_eq!(served.cores(SERVER), Ok(cores), "{fault:?}");
        assert_eq!(served.calls()[0].http, None, "{fault:?}");
    }
}

#[tokio::test]
async fn retry_after_comes_as_asked_for() {
    for (fault, expected) in [
        (Fault::too_many_requests(Some(7)), Some("7")),
        (Fault::too_many_requests(None), None),
        (Fault::unavailable(Some(120)), Some("120")),
        (Fault::unavailable(None), None),
    ] {
        let served = served();
        served.inject(Function::List, fault.clone(), Times::Always);
        let answer = post(&served, "server/list", &json!({}))
            .send()
            .await
            .unwrap();
        let header = answer.headers().get("retry-after");
        assert_eq!(header.map(|h| h.to_str().unwrap()), expected, "{fault:?}");
    }
}

#[tokio::test]
async fn faults_hit_as_many_calls_of_their_function_as_asked() {
    let served = served();
    served.inject(Function::Edit, Fault::no_room(), Times::Next(2));
    served.inject(Function::Edit, Fault::apply_failed(), Times::Next(0));
    served.inject(Function::Edit, Fault::hypervisor_down(), Times::Always);
    let details = call(&served, "server/details", json!({"serverid": SERVER})).await;
    assert_eq!(details.http, 200);
    for code in [617, 617, 619, 619, 619] {
        assert_eq!(edit(&served).await, Outcome::Whole(500, code));
    }
    served.clear_faults();
    assert_eq!(edit(&served).await, Outcome::Whole(200, 200));
}

/// The service is not harmed by what it does to one client.
#[tokio::test]
async fn other_clients_are_answered_beside_a_faulty_call() {
    let served = served();
    served.inject(Function::Edit, Fault::EndlessBody, Times::Next(1));
    served.inject(Function::Edit, Fault::DelayBefore(LONG), Times::Next(1));
    let body = json!({"serverid": SERVER, "cpucores": 4});
    // Its body is never read.
    let endless = post(&served, "server/edit", &body).send().await.unwrap();
    let hung = tokio::spawn(post(&served, "server/edit", &body).send());
    until(|| served.calls().len() == 2).await;
    assert_eq!(call(&served, "server/list", json!({})).await.http, 200);
    hung.abort();
    drop(endless);
}
