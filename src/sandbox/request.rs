//! From an HTTP request to function, arguments and wished format: the four ways in which the
//! service takes arguments (`glesys-api.md` section 1), in any mixture.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// A request, understood as far as its form goes. No `Debug`: it holds the key.
pub(super) struct Request {
    /// Module and function, without a slash at either end.
    pub path: String,
    pub method: Method,
    pub arguments: Map<String, Value>,
    pub credentials: Option<Credentials>,
    pub wants_json: bool,
}

pub(super) struct Credentials {
    pub project: String,
    pub secret: String,
}

/// Why a request has no meaning, for its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub String);

/// Where an argument is given more than once, the body counts before the query, the query before
/// the path: the service's own order is unknown.
pub(super) fn parse(head: &Parts, body: &[u8]) -> Result<Request, Malformed> {
    let mut arguments = Map::new();
    let path = path_arguments(head.uri.path(), &mut arguments)?;
    form_arguments(
        head.uri.query().unwrap_or_default().as_bytes(),
        &mut arguments,
    );
    let content_type = media_types(&head.headers, CONTENT_TYPE.as_str()).next();
    match content_type.as_deref() {
        _ if body.iter().all(u8::is_ascii_whitespace) => {}
        Some("application/json") => json_arguments(body, &mut arguments)?,
        Some("application/x-www-form-urlencoded") | None => form_arguments(body, &mut arguments),
        Some(other) => {
            return Err(Malformed(format!(
                "Arguments of the type {other} are not understood."
            )));
        }
    }
    let format = arguments.remove("format");
    let wants_json = format.as_ref().and_then(Value::as_str) == Some("json")
        || content_type.as_deref() == Some("application/json")
        || media_types(&head.headers, ACCEPT.as_str()).any(|t| t == "application/json");
    Ok(Request {
        path,
        method: head.method.clone(),
        arguments,
        credentials: credentials(&head.headers),
        wants_json,
    })
}

/// `/server/details/serverid/kvm123456/` is the function and a pair.
fn path_arguments(path: &str, into: &mut Map<String, Value>) -> Result<String, Malformed> {
    let parts: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let (function, pairs) = parts.split_at(parts.len().min(2));
    for pair in pairs.chunks(2) {
        match pair {
            [name, value] => into.insert(name.clone(), Value::String(value.clone())),
            _ => {
                return Err(Malformed(format!(
                    "The argument {} in the path has no value.",
                    pair.concat()
                )));
            }
        };
    }
    Ok(function.join("/"))
}

fn form_arguments(form: &[u8], into: &mut Map<String, Value>) {
    for (name, value) in form_urlencoded::parse(form) {
        into.insert(name.into_owned(), Value::String(value.into_owned()));
    }
}

fn json_arguments(body: &[u8], into: &mut Map<String, Value>) -> Result<(), Malformed> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => {
            into.extend(object);
            Ok(())
        }
        Ok(_) => Err(Malformed("The JSON body is no object.".to_owned())),
        Err(e) => Err(Malformed(format!("The JSON body cannot be read: {e}."))),
    }
}

/// The media types of a header, lower case, without parameters.
fn media_types<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = String> + use<'h> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|entry| {
            let bare = entry.split(';').next().unwrap_or_default();
            bare.trim().to_ascii_lowercase()
        })
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let (project, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Credentials {
        project: project.to_owned(),
        secret: secret.to_owned(),
    })
}

/// An argument as text, whichever way it was given.
pub(super) fn text(arguments: &Map<String, Value>, name: &str) -> Option<String> {
    match arguments.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Request, Malformed> {
        let mut request = hyper::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        parse(&head, body.as_bytes())
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

    #[test]
    fn the_four_ways_of_passing_arguments_mean_the_same() {
        for (method, uri, headers, body) in [
            (
                "POST",
                "/server/edit",
                &[FORM][..],
                "serverid=kvm1&cpucores=4",
            ),
            ("POST", "/server/edit/", &[], "serverid=kvm1&cpucores=4"),
            (
                "POST",
                "/server/edit",
                &[JSON],
                r#"{"serverid":"kvm1","cpucores":"4"}"#,
            ),
            ("POST", "/server/edit/serverid/kvm1/cpucores/4", &[], ""),
            ("POST", "/server/edit/serverid/k%76m1/cpucores/4/", &[], ""),
            ("POST", "/server/edit?serverid=kvm1&cpucores=4", &[], ""),
            ("POST", "/server/edit/serverid/kvm1?cpucores=4", &[], ""),
            (
                "POST",
                "/server/edit/serverid/kvm9?serverid=kvm8",
                &[JSON],
                r#"{"serverid":"kvm1","cpucores":"4"}"#,
            ),
        ] {
            let request =
                read(method, uri, headers, body).unwrap_or_else(|e| panic!("{uri}: {e:?}"));
            assert_eq!(request.path, "server/edit", "{uri}");
            assert_eq!(
                Value::Object(request.arguments),
                json!({"serverid": "kvm1", "cpucores": "4"}),
                "{uri} {body}"
            );
        }
    }

    #[test]
    fn json_is_answered_when_asked_for_in_any_way() {
        for (uri, headers, body, json) in [
            ("/server/list", &[][..], "", false),
            ("/server/list", &[("accept", "*/*")], "", false),
            (
                "/server/list",
                &[("accept", "text/xml, Application/JSON;q=0.9")],
                "",
                true,
            ),
            ("/server/list/format/json", &[], "", true),
            ("/server/list/format/json/", &[], "", true),
            ("/server/list/format/xml", &[], "", false),
            ("/server/list?format=json", &[], "", true),
            ("/server/list", &[FORM], "format=json", true),
            ("/server/list", &[JSON], "", true),
        ] {
            let request =
                read("POST", uri, headers, body).unwrap_or_else(|e| panic!("{uri}: {e:?}"));
            assert_eq!(request.wants_json, json, "{uri} {headers:?} {body}");
            assert!(
                request.arguments.is_empty(),
                "{uri}: the format is no argument"
            );
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused_with_the_reason() {
        for (uri, headers, body, reason) in [
            ("/server/details/serverid", &[][..], "", "serverid"),
            ("/server/details", &[JSON], "[1]", "no object"),
            (
                "/server/details",
                &[JSON],
                "{\"serverid\"",
                "cannot be read",
            ),
            (
                "/server/details",
                &[("content-type", "text/xml")],
                "<a/>",
                "text/xml",
            ),
        ] {
            let Err(Malformed(text)) = read("POST", uri, headers, body) else {
                panic!("{uri} {body} was taken");
            };
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn basic_credentials_are_read() {
        let with = |value: &str| {
            read("GET", "/", &[("authorization", value)], "")
                .unwrap()
                .credentials
                .map(|c| (c.project, c.secret))
        };
        // "cl12345:a:b"
        let expected = Some(("cl12345".to_owned(), "a:b".to_owned()));
        assert_eq!(with("Basic Y2wxMjM0NTphOmI="), expected);
        assert_eq!(with("basic Y2wxMjM0NTphOmI="), expected);
        for wrong in ["Bearer Y2wxMjM0NTphOmI=", "Basic !", "Basic", "Basic Y2w="] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }
}
