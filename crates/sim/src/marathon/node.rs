//! A Marathon process: its port, its connections, whether it leads, and how leadership moves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::config::{LeaderChange, ListFault};
use super::dcos;
use super::health;
use super::http::{Connection, Request, Response, basic};
use super::instance::Condition;
use super::readiness;
use super::rest;
use super::shared::Shared;
use super::stream;
use super::world::Requested;
use crate::port::{Port, secured};

/// Time for which a request is held when no leader is known, before 502 (Marathon has 2.5 s).
const LEADER_HOLD: Duration = Duration::from_millis(5);

/// Time from an election until reconciliation repeats the status of every task (Marathon has 15 s).
const RECONCILIATION: Duration = Duration::from_millis(50);

/// Lives as one process: up while it is wanted, its port refusing while it is not.
pub(super) async fn run(
    shared: Arc<Shared>,
    node: usize,
    port: Port,
    wanted: watch::Receiver<bool>,
) {
    let listening = |listening| {
        shared.with(|world| {
            if let Some(node) = world.nodes.get_mut(node) {
                node.listening = listening;
            }
            world.touch();
        });
    };
    let serve = |socket, peer| {
        let shared = Arc::clone(&shared);
        async move {
            if let Err(error) = serve(&shared, node, socket, peer).await {
                tracing::debug!(%error, node, "simulated connection ended");
            }
        }
    };
    port.serve(wanted, listening, serve).await;
}

/// One connection, request after request.
async fn serve(
    shared: &Arc<Shared>,
    node: usize,
    socket: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let tls = shared.config.tls.clone().map(TlsAcceptor::from);
    let (wire, chain) = secured(socket, tls.as_ref()).await?;
    let client_certificate = chain.and_then(|chain| Some(chain.first()?.to_vec()));
    let mut connection = Connection::new(wire);
    while let Some(request) = connection.request().await? {
        shared.with(|world| {
            world.requested(Requested {
                node,
                method: request.method.clone(),
                target: request.target.clone(),
                authorized: request.header("authorization").is_some(),
                client_certificate: client_certificate.clone(),
            });
        });
        let keep_alive = request.keep_alive;
        let head_only = request.method == "HEAD";
        let response = match role(shared, node, &request).await {
            Role::Refuse(response) => response,
            Role::Answer { via } if request.path == "/v2/events" => match request.method.as_str() {
                "GET" => return stream::serve(shared, connection, peer, &request, via).await,
                "HEAD" => Response::text(StatusCode::OK, "text/event-stream;charset=utf-8", ""),
                _ => Response::page(StatusCode::METHOD_NOT_ALLOWED, &request.path),
            },
            Role::Answer { via } => {
                let leader = shared.peek(super::world::World::leader_url);
                let mut response = rest::answer(shared, peer, &request)
                    .await
                    .with("Cache-Control", "no-cache, no-store, must-revalidate")
                    .with("Pragma", "no-cache")
                    .with("Expires", "0");
                if let Some(leader) = leader {
                    response = response.with("X-Marathon-Leader", leader);
                }
                match via {
                    Some(via) => response.with("X-Marathon-Via", via),
                    None => response,
                }
            }
        };
        if !connection.respond(response, head_only, keep_alive).await? {
            break;
        }
    }
    Ok(())
}

/// The first decision of an instance about a request.
enum Role {
    /// Answer it, as the leader or, naming itself, in its place. A proxying standby is not a second
    /// connection here: the answer is the same to the byte.
    Answer {
        via: Option<String>,
    },
    Refuse(Response),
}

async fn role(shared: &Arc<Shared>, node: usize, request: &Request) -> Role {
    if let Some((user, password)) = &shared.config.credentials
        && request.header("authorization") != Some(basic(user, password).as_str())
    {
        let page = Response::page(StatusCode::UNAUTHORIZED, &request.path);
        return Role::Refuse(page.with("WWW-Authenticate", "Basic realm=\"Mesosphere\""));
    }
    if let Some(account) = &shared.config.dcos {
        if request.path == dcos::LOGIN {
            return Role::Refuse(dcos::log_in(shared, account, request));
        }
        if let Some(refusal) = dcos::refusal(shared, request) {
            return Role::Refuse(refusal);
        }
    }
    // Without a leader the request is held for a while: one may be elected just now.
    let held = shared.until(|world| world.leader_url().map(|url| (url, world.leads(node))));
    let Ok((leader, leads)) = tokio::time::timeout(LEADER_HOLD, held).await else {
        let status = StatusCode::BAD_GATEWAY;
        let text = "Could not determine the current leader";
        return Role::Refuse(Response::text(status, "text/plain", text));
    };
    if leads {
        return Role::Answer { via: None };
    }
    if request.path == "/v2/events" {
        let location = format!("{leader}{}", request.target);
        let response = Response::text(StatusCode::FOUND, "text/html", "");
        return Role::Refuse(response.with("Location", location));
    }
    if request.header("x-marathon-via").is_some() {
        let text = "Detected proxying loop";
        return Role::Refuse(Response::text(StatusCode::BAD_GATEWAY, "text/plain", text));
    }
    let address = shared.peek(|world| world.nodes.get(node).map(|node| node.address.to_string()));
    Role::Answer {
        via: Some(format!("1.1 {}", address.unwrap_or_default())),
    }
}

/// Brings a process up or down, and waits until it is.
pub(super) async fn turn(shared: &Shared, node: usize, up: bool) {
    shared.with(|world| {
        if let Some(node) = world.nodes.get(node) {
            node.wanted.send_replace(up);
        }
    });
    shared
        .until(|world| {
            let is = world
                .nodes
                .get(node)
                .is_none_or(|node| node.listening == up);
            is.then_some(())
        })
        .await;
}

/// The leader's process exits; after the election the next instance leads.
pub(super) async fn change_leader(shared: &Arc<Shared>, change: LeaderChange) {
    let Some((old, next)) = shared.with(|world| {
        let old = world.leader?;
        world.publish("scheduler_disconnected_event", json!({}));
        let count = world.nodes.len();
        let others = (1..count).map(|step| (old + step) % count);
        let up = |node: &usize| world.nodes.get(*node).is_some_and(|node| node.listening);
        Some((old, others.into_iter().find(up)))
    }) else {
        return;
    };
    // The writers get a turn: the last event is seen more often than not.
    tokio::task::yield_now().await;
    shared.with(|world| {
        world.leader = None;
        world.touch();
    });
    turn(shared, old, false).await;
    let returns = match (change.returns, next) {
        (Some(after), _) => Some(after),
        (None, None) => Some(change.election),
        (None, Some(_)) => None,
    };
    let back = async {
        if let Some(after) = returns {
            tokio::time::sleep(after).await;
            turn(shared, old, true).await;
        }
    };
    let election = async {
        tokio::time::sleep(change.election).await;
        elect(shared, next.unwrap_or(old), change);
    };
    tokio::join!(back, election);
    tokio::time::sleep(RECONCILIATION).await;
    reconcile(shared);
}

/// Makes an instance the leader, with the memory of a process that has just become it.
fn elect(shared: &Shared, node: usize, change: LeaderChange) {
    shared.with(|world| {
        world.leader = Some(node);
        health::wipe(world);
        readiness::wipe(world);
        world
            .list_faults
            .extend(std::iter::repeat_n(ListFault::Empty, change.empty_lists));
        world.eof_streams += change.eof_streams;
        world.publish(
            "scheduler_reregistered_event",
            json!({ "master": "127.0.0.1" }),
        );
        let apps: Vec<_> = world.root.values().cloned().collect();
        for app in apps {
            health::announce(world, &app);
        }
    });
}

/// Repeats the status of every task: duplicates of what is known.
fn reconcile(shared: &Shared) {
    shared.with(|world| {
        let running: Vec<u64> = world
            .instances
            .iter()
            .filter(|(_, instance)| instance.condition == Condition::Running)
            .map(|(key, _)| *key)
            .collect();
        for key in running {
            world.status_event(key, "Reconciliation: Latest task state");
        }
    });
}
