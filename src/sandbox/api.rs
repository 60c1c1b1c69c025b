//! The functions: a request and the world in, an answer out. Nothing here knows of HTTP beyond
//! the status number, or of time beyond the instant handed in. After `glesys-api.md` sections 4
//! and 5; texts that nobody has recorded are our own.

use super::access::{AUTHENTICATION_FAILED, Key};
use super::function::Function;
use super::request::{Request, text};
use super::server::Server;
use super::switches::{
    Behaviour, LockAnswer, PermissionAnswer, Platform, Shape, Switches, UnknownServer,
};
use super::world::{Project, World};
use hyper::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::time::Instant;

/// An answer before it is written as an envelope.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub http: u16,
    pub code: u16,
    pub text: String,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// What stands beside `status` in the envelope.
    pub payload: Map<String, Value>,
}

impl Reply {
    fn ok(name: &str, payload: Value) -> Self {
        let mut reply = Self::refusal(200, 200, "OK");
        reply.payload.insert(name.to_owned(), payload);
        reply
    }

    pub fn refusal(http: u16, code: u16, text: impl Into<String>) -> Self {
        Self {
            http,
            code,
            text: text.into(),
            retry_after: None,
            payload: Map::new(),
        }
    }

    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::refusal(400, 400, text)
    }
}

/// Answers `request`, and does what it asks for. The world is settled up to `now`.
pub(super) fn answer(world: &mut World, now: Instant, peer: IpAddr, request: &Request) -> Reply {
    carry_out(world, now, peer, request).unwrap_or_else(|refusal| refusal)
}

fn carry_out(
    world: &mut World,
    now: Instant,
    peer: IpAddr,
    request: &Request,
) -> Result<Reply, Reply> {
    if !request.wants_json {
        return Err(Reply::refusal(
            406,
            406,
            "This embedded API answers in JSON only: ask for it, for example with 'Accept: application/json'.",
        ));
    }
    let function = Function::at(&request.path).ok_or_else(|| no_such_function(&request.path))?;
    if !(request.method == Method::POST || request.method == Method::GET && function.takes_get()) {
        let text = format!("{function} does not take {}.", request.method);
        return Err(Reply::refusal(405, 405, text));
    }
    let World {
        switches,
        platforms,
        projects,
        ..
    } = world;
    let project = authorise(switches, projects, peer, request, function)?;
    if let Some(unknown) = request
        .arguments
        .keys()
        .find(|name| !function.arguments().contains(&name.as_str()))
    {
        return Err(Reply::bad_request(format!(
            "{function} has no argument {unknown}."
        )));
    }
    let arguments = &request.arguments;
    match function {
        Function::List => {
            let servers = project.servers.iter().map(listed).collect();
            Ok(Reply::ok("servers", Value::Array(servers)))
        }
        Function::Details => {
            let server = server(switches, project, arguments)?;
            let mut details = details(server, switches);
            if let Some("yes" | "true" | "1") = text(arguments, "includestate").as_deref() {
                details.extend(state(server));
            }
            Ok(Reply::ok("server", Value::Object(details)))
        }
        Function::AllowedArguments => {
            let only = match arguments.contains_key("serverid") {
                true => Some(server(switches, project, arguments)?.platform.clone()),
                false => None,
            };
            let list = allowed_arguments(switches, platforms, only.as_deref());
            Ok(Reply::ok("argumentslist", list))
        }
        Function::Edit => {
            let server = server(switches, project, arguments)?;
            edit(server, now, switches, platforms, arguments)?;
            Ok(Reply::ok(
                "server",
                Value::Object(details(server, switches)),
            ))
        }
    }
}

/// The service answers 404 with its documentation \[doc 1; the form is inf\].
fn no_such_function(path: &str) -> Reply {
    let known: Vec<&str> = Function::ALL.iter().map(|f| f.path()).collect();
    Reply::refusal(
        404,
        404,
        format!("No function '{path}'. There are: {}.", known.join(", ")),
    )
}

/// The project that the key opens, to this function and from this address.
fn authorise<'w>(
    switches: &Switches,
    projects: &'w mut [Project],
    peer: IpAddr,
    request: &Request,
    function: Function,
) -> Result<&'w mut Project, Reply> {
    let unauthorised = || Reply::refusal(401, 401, AUTHENTICATION_FAILED);
    let given = request.credentials.as_ref().ok_or_else(unauthorised)?;
    let project = projects
        .iter_mut()
        .find(|p| p.name.eq_ignore_ascii_case(&given.project))
        .ok_or_else(unauthorised)?;
    let key: &Key = project
        .keys
        .iter()
        .find(|k| k.is(&given.secret) && !k.withdrawn)
        .ok_or_else(unauthorised)?;
    let refused = if !key.allows_address(peer) {
        Some(format!(
            "Permission error: access from {peer} is not allowed.\n"
        ))
    } else if !key.functions.contains(&function) {
        Some(format!("Permission error: {function} is not allowed.\n"))
    } else {
        None
    };
    match (refused, switches.permission_answer) {
        (None, _) => Ok(project),
        (Some(text), PermissionAnswer::Unauthorized) => Err(Reply::refusal(401, 401, text)),
        (Some(text), PermissionAnswer::Forbidden) => Err(Reply::refusal(403, 403, text)),
    }
}

fn server<'p>(
    switches: &Switches,
    project: &'p mut Project,
    arguments: &Map<String, Value>,
) -> Result<&'p mut Server, Reply> {
    let id = text(arguments, "serverid")
        .ok_or_else(|| Reply::bad_request("The argument serverid is missing."))?;
    let number = match switches.unknown_server {
        UnknownServer::BadRequest => 400,
        UnknownServer::NotFound => 404,
    };
    let text = "Could not find server with this id on this account.";
    project
        .servers
        .iter_mut()
        .find(|s| s.id == id)
        .ok_or_else(|| Reply::refusal(number, number, text))
}

/// Everything is checked before anything is changed.
fn edit(
    server: &mut Server,
    now: Instant,
    switches: &Switches,
    platforms: &BTreeMap<String, Platform>,
    arguments: &Map<String, Value>,
) -> Result<(), Reply> {
    if server.locked_until.is_some() {
        return Err(match switches.lock_answer {
            LockAnswer::Forbidden => Reply::refusal(403, 403, "The server is locked."),
            LockAnswer::Code606 => Reply::refusal(500, 606, "Server Locked\n"),
        });
    }
    let platform = platforms
        .get(&server.platform)
        .ok_or_else(|| Reply::bad_request(format!("Unknown platform {}.", server.platform)))?;
    let cores = count(arguments, "cpucores")?.map(u32::try_from);
    let cores = match cores {
        None => server.cores,
        Some(Ok(cores)) if platform.allowed.contains(&cores) => cores,
        Some(_) => {
            return Err(Reply::bad_request(format!(
                "Invalid value for cpucores. Allowed on {}: {:?}.",
                server.platform, platform.allowed
            )));
        }
    };
    let memory_mb = count(arguments, "memorysize")?;
    let disk_gb = count(arguments, "disksize")?;
    let bandwidth_mbit = count(arguments, "bandwidth")?;
    let refused = platform.towards(server.cores, cores) == Behaviour::Refusing;
    if cores != server.cores && refused {
        return Err(Reply::refusal(
            500,
            610,
            "The template does not support this change.",
        ));
    }

    server.memory_mb = memory_mb.unwrap_or(server.memory_mb);
    server.disk_gb = disk_gb.unwrap_or(server.disk_gb);
    server.bandwidth_mbit = bandwidth_mbit.unwrap_or(server.bandwidth_mbit);
    if let Some(hostname) = text(arguments, "hostname") {
        server.hostname = hostname;
    }
    if let Some(description) = text(arguments, "description") {
        server.description = description;
    }
    server.change(now, cores, platform);
    Ok(())
}

/// A whole number of at least 1, given as a number or as text.
fn count(arguments: &Map<String, Value>, name: &str) -> Result<Option<u64>, Reply> {
    if !arguments.contains_key(name) {
        return Ok(None);
    }
    match text(arguments, name).and_then(|text| text.parse::<u64>().ok()) {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(Reply::bad_request(format!("Invalid value for {name}."))),
    }
}

fn listed(server: &Server) -> Value {
    json!({
        "serverid": server.id,
        "hostname": server.hostname,
        "datacenter": "Falkenberg",
        "platform": server.platform,
    })
}

fn details(server: &Server, switches: &Switches) -> Map<String, Value> {
    let addresses: Vec<Value> = server
        .addresses
        .iter()
        .map(|a| json!({"ipaddress": a, "version": if a.is_ipv4() { 4 } else { 6 }}))
        .collect();
    object(json!({
        "serverid": server.id,
        "hostname": server.hostname,
        "description": server.description,
        "cpucores": server.cores,
        "memorysize": server.memory_mb,
        "disksize": server.disk_gb,
        "bandwidth": server.bandwidth_mbit,
        "templatename": "Debian 12 (Bookworm)",
        "initialtemplate": {
            "id": "ac7c05f1-0000-4330-a0a2-d1f2e6244b21",
            "name": "Debian 12 (Bookworm)",
            "currenttags": ["debian-12"],
        },
        "datacenter": "Falkenberg",
        "platform": server.platform,
        "managedhosting": "no",
        "cost": price(switches.core_price * f64::from(server.cores)),
        "iplist": addresses,
        "backup": {"enabled": "no", "schedules": []},
        "supportedfeatures": {"editbandwidth": "yes"},
    }))
}

/// What comes only with `includestate`.
fn state(server: &Server) -> Map<String, Value> {
    let (status, state) = match (server.locked_until, server.running) {
        (Some(_), _) => ("updating", "locked"),
        (None, true) => ("running", "running"),
        (None, false) => ("ready", "stopped"),
    };
    object(json!({
        "isrunning": server.running,
        "islocked": server.locked_until.is_some(),
        "status": status,
        "state": state,
    }))
}

fn allowed_arguments(
    switches: &Switches,
    platforms: &BTreeMap<String, Platform>,
    only: Option<&str>,
) -> Value {
    let wanted = platforms
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == name.as_str()));
    match switches.shape {
        Shape::Values => {
            let platforms: Map<String, Value> = wanted
                .map(|(name, platform)| {
                    let values = platform.allowed.iter().map(|n| json!({"value": n}));
                    (
                        name.clone(),
                        json!({"cpucores": values.collect::<Vec<_>>()}),
                    )
                })
                .collect();
            json!({"platforms": platforms})
        }
        Shape::Units => wanted
            .map(|(name, platform)| {
                let units = json!({
                    "units": platform.allowed,
                    "costperunit": price(switches.core_price),
                });
                (name.clone(), json!({"cpucores": units}))
            })
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn price(amount: f64) -> Value {
    json!({"amount": amount, "currency": "SEK", "timeperiod": "month"})
}

/// For the literals above, which are objects.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
