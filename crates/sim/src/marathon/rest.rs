//! The REST calls: from a request to an answer, on the leader.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::app::normal_id;
use super::config::ListFault;
use super::deploy::{self, Accepted, Origin, Refusal};
use super::http::{Request, Response};
use super::pod;
use super::shape::{self, Embed};
use super::shared::Shared;

/// The meaning of a path under `/v2/apps/`. Ids may carry these words themselves; Marathon has the
/// same collision.
enum AppPath {
    App(String),
    Wildcard(String),
    Version(String, String),
    Restart(String),
}

impl AppPath {
    fn parse(rest: &str) -> Self {
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let id = |parts: &[&str]| format!("/{}", parts.join("/"));
        match parts.as_slice() {
            [group @ .., "*"] => Self::Wildcard(id(group)),
            [app @ .., "versions", version] => Self::Version(id(app), (*version).to_owned()),
            [app @ .., "restart"] => Self::Restart(id(app)),
            app => Self::App(id(app)),
        }
    }
}

/// Answers a request as the leader does.
pub(super) async fn answer(shared: &Arc<Shared>, peer: SocketAddr, request: &Request) -> Response {
    let path = request.path.trim_end_matches('/').to_owned();
    let method = request.method.as_str();
    let response = match (method, path.as_str()) {
        ("GET" | "HEAD", "/v2/apps") => return list(shared, request).await,
        ("POST", "/v2/apps") => post(shared, peer, request).await,
        ("POST", "/v2/tasks/delete") if request.flag("scale") => {
            kill_and_scale(shared, peer, request).await
        }
        ("GET" | "HEAD", "/v2/pods/::status") => pods(shared),
        ("POST", "/v2/pods") => post_pod(shared, peer, request).await,
        ("GET" | "HEAD", "/v2/leader") => {
            let leader =
                shared.peek(|world| Some(world.nodes.get(world.leader?)?.address.to_string()));
            Ok(ok(json!({ "leader": leader })))
        }
        ("GET" | "HEAD", "/ping") => Ok(Response::text(StatusCode::OK, "text/plain", "pong")),
        (_, path) => {
            if path.starts_with("/v2/apps/") && shared.peek(|world| world.gateway_is_lost) {
                return Response::message(
                    StatusCode::NOT_FOUND,
                    "no Route matched with those values",
                );
            }
            if let Some(rest) = path.strip_prefix("/v2/apps/") {
                app(shared, peer, request, AppPath::parse(rest)).await
            } else if let Some(rest) = path.strip_prefix("/v2/pods/") {
                pod(shared, peer, request, rest).await
            } else {
                Err(Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "URI not found",
                ))
            }
        }
    };
    response.unwrap_or_else(|refusal| Response::json(refusal.status, &refusal.body))
}

fn ok(body: Value) -> Response {
    Response::json(StatusCode::OK, &body)
}

/// `GET /v2/apps`, with what a test wants to go wrong.
async fn list(shared: &Arc<Shared>, request: &Request) -> Response {
    let (fault, truth) = shared.with(|world| {
        let embed = Embed::parse(request.parameters("embed"));
        let apps: Vec<Value> = world
            .definitions(false)
            .map(|app| shape::app(world, app, embed))
            .collect();
        (world.list_faults.pop_front(), json!({ "apps": apps }))
    });
    // The truth is of the time of the request, whenever it is sent.
    let mut held = shared.lists_held.subscribe();
    let _ = held.wait_for(|held| !*held).await;
    match fault {
        None => ok(truth),
        Some(ListFault::Empty) => ok(json!({ "apps": [] })),
        Some(ListFault::EmptyTasks) => ok(with_tasks(truth, Some(&json!([])), |_| true)),
        Some(ListFault::EmptyTasksOf(app)) => {
            ok(with_tasks(truth, Some(&json!([])), |id| id == app))
        }
        Some(ListFault::Without(id)) => ok(without(truth, &id)),
        Some(ListFault::Nameless(app)) => {
            let mut list = without(truth, &app);
            if let Some(apps) = list.get_mut("apps").and_then(Value::as_array_mut) {
                apps.push(json!({ "tasks": [] }));
            }
            ok(list)
        }
        Some(ListFault::NoTasks) => ok(with_tasks(truth, None, |_| true)),
        Some(ListFault::Malformed) => {
            let mut text = truth.to_string();
            text.pop();
            Response::text(StatusCode::OK, "application/json", text)
        }
        Some(ListFault::Html) => {
            let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
            Response::text(StatusCode::OK, "text/html;charset=utf-8", page)
        }
        Some(ListFault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Response::message(status, "Futures timed out after [2 seconds]")
        }
        Some(ListFault::Late(by)) => {
            tokio::time::sleep(by).await;
            ok(truth)
        }
        Some(ListFault::Body(body)) => Response::text(StatusCode::OK, "application/json", body),
        Some(ListFault::Cut) => Response {
            cut: true,
            ..ok(truth)
        },
    }
}

/// The status of every pod, or the failure that a test wants.
fn pods(shared: &Shared) -> Result<Response, Refusal> {
    shared.peek(|world| match world.pods_fault {
        None => {
            let pods = world.definitions(true);
            let all: Vec<Value> = pods.map(|pod| pod::status(world, pod)).collect();
            Ok(ok(all.into()))
        }
        Some(status) => Err(Refusal::new(
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            "HTTP error",
        )),
    })
}

async fn post_pod(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: &Request,
) -> Result<Response, Refusal> {
    let body = body(request)?;
    let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
    let client = peer.ip().to_string();
    let origin = Origin {
        client: &client,
        is_post: true,
    };
    let force = request.flag("force");
    Ok(done(
        deploy::put_pod(shared, id, &body, force, origin).await?,
    ))
}

/// One pod: its definition, its status, or a version of it.
async fn pod(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: &Request,
    rest: &str,
) -> Result<Response, Refusal> {
    let (id, of_pod) = rest.split_once("::").unwrap_or((rest, ""));
    let id = normal_id(id);
    let force = request.flag("force");
    let missing = || Refusal::no_pod(&id);
    let known = shared.peek(|world| world.definition(&id, true).cloned());
    match (request.method.as_str(), of_pod) {
        ("GET" | "HEAD", "") => Ok(ok(pod::definition(&*known.ok_or_else(missing)?))),
        ("GET" | "HEAD", "status") => {
            let known = known.ok_or_else(missing)?;
            Ok(ok(shared.peek(|world| pod::status(world, &known))))
        }
        ("GET" | "HEAD", of_pod) => {
            let version = of_pod.strip_prefix("versions/").ok_or_else(missing)?;
            let found = shared.peek(|world| {
                let mut all = world.versions.get(&id)?.iter();
                all.find(|pod| pod.version == version).cloned()
            });
            Ok(ok(pod::definition(&*found.ok_or_else(missing)?)))
        }
        ("PUT", "") => {
            let client = peer.ip().to_string();
            let origin = Origin {
                client: &client,
                is_post: false,
            };
            let body = body(request)?;
            Ok(done(
                deploy::put_pod(shared, &id, &body, force, origin).await?,
            ))
        }
        ("DELETE", "") => {
            known.ok_or_else(missing)?;
            Ok(done(deploy::delete(shared, &id, force).await?))
        }
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "HTTP 405 Method Not Allowed",
        )),
    }
}

/// A list without an app, or without the apps below a group.
fn without(mut list: Value, left_out: &str) -> Value {
    let below = format!("{left_out}/");
    if let Some(apps) = list.get_mut("apps").and_then(Value::as_array_mut) {
        apps.retain(|app| id_of(app) != left_out && !id_of(app).starts_with(&below));
    }
    list
}

fn id_of(app: &Value) -> &str {
    app.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// A list in which some apps, by their ids, have these tasks, or no such key.
fn with_tasks(mut list: Value, tasks: Option<&Value>, is_meant: impl Fn(&str) -> bool) -> Value {
    let apps = list.get_mut("apps").and_then(Value::as_array_mut);
    let meant = apps
        .into_iter()
        .flatten()
        .filter(|app| is_meant(id_of(app)));
    for app in meant.filter_map(Value::as_object_mut) {
        match tasks {
            Some(tasks) => app.insert("tasks".to_owned(), tasks.clone()),
            None => app.remove("tasks"),
        };
    }
    list
}

async fn post(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: &Request,
) -> Result<Response, Refusal> {
    let body = body(request)?;
    let Some(id) = body.get("id").and_then(Value::as_str) else {
        return Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Object is not valid",
        ));
    };
    let client = peer.ip().to_string();
    let origin = Origin {
        client: &client,
        is_post: true,
    };
    let accepted = deploy::put(shared, id, &body, request.flag("force"), origin).await?;
    let id = normal_id(id);
    let app = shared.peek(|world| {
        world
            .root
            .get(&id)
            .map(|app| shape::app(world, app, Embed::default().with_tasks()))
    });
    Ok(
        Response::json(StatusCode::CREATED, &app.unwrap_or_default())
            .with("Location", format!("/v2/apps/{id}"))
            .with("Marathon-Deployment-Id", accepted.deployment),
    )
}

/// `POST /v2/tasks/delete?scale=true`.
async fn kill_and_scale(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: &Request,
) -> Result<Response, Refusal> {
    let body = body(request)?;
    let ids = body.get("ids").and_then(Value::as_array);
    let ids = ids.into_iter().flatten();
    let ids: Vec<String> = ids
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    let client = peer.ip().to_string();
    let origin = Origin {
        client: &client,
        is_post: false,
    };
    Ok(done(deploy::kill_and_scale(shared, &ids, origin).await?))
}

fn body(request: &Request) -> Result<Map<String, Value>, Refusal> {
    let value: Value = serde_json::from_slice(&request.body)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "Invalid JSON"))?;
    value
        .as_object()
        .cloned()
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "Invalid JSON"))
}

fn done(accepted: Accepted) -> Response {
    let status = if accepted.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let body = json!({ "version": accepted.version, "deploymentId": accepted.deployment });
    Response::json(status, &body).with("Marathon-Deployment-Id", accepted.deployment)
}

async fn app(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: &Request,
    path: AppPath,
) -> Result<Response, Refusal> {
    let force = request.flag("force");
    let known = |id: &str| {
        shared
            .peek(|world| world.definition(id, false).cloned())
            .ok_or_else(|| Refusal::no_app(id))
    };
    match (request.method.as_str(), path) {
        ("GET" | "HEAD", AppPath::App(id)) => {
            let app = known(&id)?;
            let embed = Embed::parse(request.parameters("embed")).with_tasks();
            let json = shared.peek(|world| shape::app(world, &app, embed));
            Ok(ok(json!({ "app": json })))
        }
        ("PUT" | "PATCH", AppPath::App(id)) => {
            let client = peer.ip().to_string();
            let origin = Origin {
                client: &client,
                is_post: false,
            };
            Ok(done(
                deploy::put(shared, &id, &body(request)?, force, origin).await?,
            ))
        }
        ("DELETE", AppPath::App(id)) => Ok(done(deploy::delete(shared, &id, force).await?)),
        ("POST", AppPath::Restart(id)) => Ok(done(deploy::restart(shared, &id, force).await?)),
        ("GET" | "HEAD", AppPath::Wildcard(group)) => Ok(shared.peek(|world| {
            let embed = Embed::parse(request.parameters("embed"));
            let prefix = if group == "/" {
                group
            } else {
                format!("{group}/")
            };
            let below = world
                .definitions(false)
                .filter(|app| app.id.starts_with(&prefix));
            let apps: Vec<Value> = below.map(|app| shape::app(world, app, embed)).collect();
            ok(json!({ "*": apps }))
        })),
        ("GET" | "HEAD", AppPath::Version(id, version)) => {
            let found = shared.peek(|world| {
                let mut all = world.versions.get(&id)?.iter();
                all.find(|app| app.version == version)
                    .map(|app| app.json.clone())
            });
            let missing = || Refusal::no_app(&id);
            found
                .map(|json| ok(Value::Object(json)))
                .ok_or_else(missing)
        }
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "HTTP 405 Method Not Allowed",
        )),
    }
}
