//! A middleman between an Envoy and its daemon that passes everything on as it is, but one answer
//! when it is told so: that one brings a resource that no Envoy takes, and what Envoy says after it
//! waits until it is let through.

use std::convert::Infallible;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use envoy_api::envoy::config::cluster::v3::Cluster;
use envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_api::envoy::config::listener::v3::Listener;
use envoy_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_api::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_api::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource,
};
use envoy_api::prost::Message;
use envoy_api::prost_types::Any;
use futures_util::stream;
use http::{Request, Response, StatusCode, Uri, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use marathon_envoy::commands::bootstrap::{self, ControlPlane, Transport};
use marathon_envoy::snapshot::Kind;
use serde_json::Value;
use sim::envoy::{Envoy, Options};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::broken::broken;
use super::{Environment, LIMIT, envoy};

/// What stands before every message of a gRPC stream: a flag and a length.
const PREFIX_BYTES: usize = 5;

type Body = BoxBody<Bytes, hyper::Error>;

/// The middleman. Dropping it cuts every connection.
pub(crate) struct Middleman {
    address: SocketAddr,
    spoiler: Spoiler,
    _task: JoinSet<()>,
}

impl Middleman {
    /// One before the daemon at this address.
    async fn before(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let spoiler = Spoiler::default();
        let relay = Relay {
            daemon,
            http1: Client::builder(TokioExecutor::new()).build_http(),
            http2: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
            spoiler: spoiler.clone(),
        };
        let mut task = JoinSet::new();
        task.spawn(serve(listener, relay));
        Self {
            address,
            spoiler,
            _task: task,
        }
    }

    /// Comes between the daemon of an environment and its Envoy, for which a fresh one takes over.
    pub(crate) async fn of(environment: &mut Environment, transport: Transport) -> Self {
        let daemon = environment.xds().unwrap();
        let middleman = Self::before(daemon).await;
        let bootstrap = bootstrap::yaml(&bootstrap::Config {
            transport,
            control_planes: vec![ControlPlane::Address(middleman.address)],
            envoy_admin: (Ipv4Addr::LOCALHOST, 0).into(),
            ..bootstrap::Config::default()
        });
        let options = Options {
            // Over REST two proxies of one name are none of which anything could be presumed.
            node_id: "behind a middleman".to_owned(),
            ..Options::default()
        };
        let fresh = Envoy::start(&envoy().await, &bootstrap, options).await;
        let direct = mem::replace(environment.envoy(), fresh.unwrap());
        direct.stop().await.unwrap();
        environment.envoy().ready(LIMIT).await.unwrap();
        middleman
    }

    /// Has the next answer of a kind that says anything of another resource bring `name`, broken:
    /// instead of the good one, or besides what the answer brings.
    pub(crate) fn spoil(&self, kind: Kind, name: &str) {
        self.spoiler.wish().replace((kind, name.to_owned()));
    }

    /// Whether the answer that was to be spoiled is on its way to Envoy. From then on nothing that
    /// Envoy says goes on.
    pub(crate) fn has_spoiled(&self) -> bool {
        self.spoiler.wish().is_none()
    }

    /// Lets through what Envoy has said since.
    pub(crate) fn let_through(&self) {
        self.spoiler.held.send_replace(false);
    }
}

async fn serve(listener: TcpListener, relay: Relay) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let relay = relay.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| relay.clone().pass(request));
            // Ends with an error when Envoy is killed.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

#[derive(Clone)]
struct Relay {
    daemon: SocketAddr,
    http1: Client<HttpConnector, Body>,
    http2: Client<HttpConnector, Body>,
    spoiler: Spoiler,
}

impl Relay {
    async fn pass(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().unwrap().clone();
        let content = parts.headers.get(header::CONTENT_TYPE);
        let is_grpc = content.is_some_and(|content| content == "application/grpc");
        let form = match is_grpc {
            true if path.path().contains("Delta") => Form::Delta,
            true => Form::Sotw,
            false => Form::Rest,
        };
        parts.uri = Uri::builder()
            .scheme("http")
            .authority(self.daemon.to_string())
            .path_and_query(path)
            .build()
            .unwrap();
        let client = match parts.version {
            Version::HTTP_2 => &self.http2,
            _ => &self.http1,
        };
        let body = requests(body, self.spoiler.clone());
        let answer = client.request(Request::from_parts(parts, body)).await;
        let Ok(answer) = answer else {
            let mut answer = Response::new(Body::default());
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(answer);
        };
        let (mut parts, body) = answer.into_parts();
        let body = match form {
            Form::Rest if parts.status == StatusCode::OK => {
                let Ok(body) = body.collect().await else {
                    parts.status = StatusCode::BAD_GATEWAY;
                    return Ok(Response::from_parts(parts, Body::default()));
                };
                parts.headers.remove(header::CONTENT_LENGTH);
                let body = self.spoiler.json(body.to_bytes());
                Full::new(body).map_err(|never| match never {}).boxed()
            }
            Form::Rest => body.boxed(),
            Form::Sotw | Form::Delta => messages(body, self.spoiler, form),
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// How discovery is spoken.
#[derive(Clone, Copy)]
enum Form {
    Rest,
    Sotw,
    Delta,
}

/// What Envoy says, once it may.
fn requests(body: Incoming, spoiler: Spoiler) -> Body {
    let frames = stream::unfold(body, move |mut body| {
        let mut held = spoiler.held.subscribe();
        async move {
            let frame = body.frame().await?;
            // An error means that the middleman is gone, and this with it.
            let _ = held.wait_for(|held| !held).await;
            Some((frame, body))
        }
    });
    StreamBody::new(frames).boxed()
}

/// The messages of a gRPC stream, one of them spoiled.
fn messages(body: Incoming, spoiler: Spoiler, form: Form) -> Body {
    let frames = stream::unfold((body, BytesMut::new()), move |(mut body, mut rest)| {
        let spoiler = spoiler.clone();
        async move {
            let frame = match body.frame().await? {
                Err(error) => Err(error),
                Ok(frame) => Ok(match frame.into_data() {
                    Ok(data) => {
                        rest.extend_from_slice(&data);
                        Frame::data(spoiler.complete(&mut rest, form))
                    }
                    Err(trailers) => trailers,
                }),
            };
            Some((frame, (body, rest)))
        }
    });
    StreamBody::new(frames).boxed()
}

/// What is to be spoiled next, if anything is, and whether Envoy's words are held back.
#[derive(Clone, Default)]
struct Spoiler {
    wish: Arc<Mutex<Option<(Kind, String)>>>,
    held: watch::Sender<bool>,
}

impl Spoiler {
    fn wish(&self) -> MutexGuard<'_, Option<(Kind, String)>> {
        self.wish.lock().unwrap()
    }

    /// The wish, if it is of this type and something else is in the answer: then it is fulfilled.
    fn due(&self, type_url: &str, names: &[String], removes: bool) -> Option<(Kind, String)> {
        let fits = |(kind, name): &mut (Kind, String)| {
            kind.type_url() == type_url && (removes || names.iter().any(|other| other != name))
        };
        let due = self.wish().take_if(fits)?;
        self.held.send_replace(true);
        Some(due)
    }

    /// Takes all complete messages out of what has come so far, ready to be passed on.
    fn complete(&self, rest: &mut BytesMut, form: Form) -> Bytes {
        let mut passed = BytesMut::new();
        while let Some(length) = length(rest) {
            let mut message = rest.split_to(PREFIX_BYTES + length).freeze();
            let flag = message.get_u8();
            message.advance(PREFIX_BYTES - 1);
            let message = match form {
                Form::Delta => self.delta(message),
                Form::Sotw | Form::Rest => self.sotw(message),
            };
            passed.put_u8(flag);
            passed.put_u32(u32::try_from(message.len()).unwrap());
            passed.put(message);
        }
        passed.freeze()
    }

    fn sotw(&self, message: Bytes) -> Bytes {
        let mut answer = DiscoveryResponse::decode(message.clone()).unwrap();
        let names: Vec<String> = answer
            .resources
            .iter()
            .map(|any| name(&any.type_url, &any.value))
            .collect();
        let Some((kind, name)) = self.due(&answer.type_url, &names, false) else {
            return message;
        };
        let broken = Any {
            type_url: answer.type_url.clone(),
            value: broken(kind, &name),
        };
        put(&mut answer.resources, &names, &name, broken);
        answer.encode_to_vec().into()
    }

    fn delta(&self, message: Bytes) -> Bytes {
        let mut answer = DeltaDiscoveryResponse::decode(message.clone()).unwrap();
        let names = answer.resources.iter().map(|one| one.name.clone());
        let names: Vec<String> = names.collect();
        let removes = !answer.removed_resources.is_empty();
        let Some((kind, name)) = self.due(&answer.type_url, &names, removes) else {
            return message;
        };
        let resource = Resource {
            name: name.clone(),
            version: "broken".to_owned(),
            resource: Some(Any {
                type_url: answer.type_url.clone(),
                value: broken(kind, &name),
            }),
            ..Resource::default()
        };
        put(&mut answer.resources, &names, &name, resource);
        answer.encode_to_vec().into()
    }

    fn json(&self, body: Bytes) -> Bytes {
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        let Some(resources) = answer["resources"].as_array() else {
            return body;
        };
        let type_url = resources.first().and_then(|one| one["@type"].as_str());
        let type_url = type_url.unwrap_or_default().to_owned();
        let name = |one: &Value| {
            let name = one["name"].as_str().or(one["cluster_name"].as_str());
            name.unwrap_or_default().to_owned()
        };
        let names: Vec<String> = resources.iter().map(name).collect();
        let Some((kind, name)) = self.due(&type_url, &names, false) else {
            return body;
        };
        let broken = envoy_api::json(&type_url, &broken(kind, &name)).unwrap();
        let broken = serde_json::from_slice(&broken).unwrap();
        let resources = answer["resources"].as_array_mut().unwrap();
        put(resources, &names, &name, broken);
        answer.to_string().into()
    }
}

/// Puts a resource where the one of its name is, else behind the others.
fn put<T>(resources: &mut Vec<T>, names: &[String], name: &str, one: T) {
    match names.iter().position(|other| other == name) {
        Some(place) => resources[place] = one,
        None => resources.push(one),
    }
}

/// The length of the first message, if all of it is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX_BYTES>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    (bytes.len() >= PREFIX_BYTES + length).then_some(length)
}

/// The name of a resource of this type.
fn name(type_url: &str, bytes: &[u8]) -> String {
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.type_url() == type_url);
    let decoded = match kind.unwrap() {
        Kind::Cluster => Cluster::decode(bytes).map(|one| one.name),
        Kind::Endpoint => ClusterLoadAssignment::decode(bytes).map(|one| one.cluster_name),
        Kind::Listener => Listener::decode(bytes).map(|one| one.name),
        Kind::Route | Kind::VhdsRoute => RouteConfiguration::decode(bytes).map(|one| one.name),
        Kind::VirtualHost => VirtualHost::decode(bytes).map(|one| one.name),
        Kind::Secret => Secret::decode(bytes).map(|one| one.name),
    };
    decoded.unwrap()
}
