//! Writes the Envoy bootstrap that makes an Envoy a client of this control plane.

mod tls;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{USAGE, say};
use crate::settings::{BadSetting, Link, XdsListen};
use crate::v2;
use tls::{BadTls, Print, TlsArguments};

pub use tls::{ClientFiles, Tls};

/// What `bootstrap` is told.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How Envoy and the control plane speak.
    #[arg(long, value_name = "TRANSPORT", default_value = "ads-delta")]
    transport: Transport,

    /// Where Envoy's own admin port is to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    envoy_admin: SocketAddr,

    #[command(flatten)]
    tls: TlsArguments,

    #[command(flatten)]
    link: Link,
}

/// What a bootstrap is written from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How Envoy and the control plane speak.
    pub transport: Transport,
    /// Where the control plane listens (`XDS_LISTEN`).
    pub control_plane: XdsListen,
    /// Envoy's name for the control plane (`CLUSTER_NAME`), which the config sources inside
    /// clusters and listeners use too.
    pub cluster_name: String,
    /// Where Envoy's admin port is to listen (`--envoy-admin`).
    pub envoy_admin: SocketAddr,
    /// How long Envoy rests between an answer and its next poll, once more by chance
    /// (`REFRESH_DELAY`). At least 10 ms: below 1 ms Envoy 1.40 crashes.
    pub refresh_delay: Duration,
    /// How Envoy speaks TLS to the control plane (`--envoy-ca`); none: plaintext.
    pub tls: Option<Tls>,
}

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error(transparent)]
    Tls(#[from] BadTls),
}

/// How Envoy and the control plane speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Long polls, JSON over HTTP/2.
    Rest,
    /// One gRPC stream for everything, with whole states.
    Ads,
    /// One gRPC stream for everything, with changes alone: the least of bytes and time.
    AdsDelta,
    /// Short polls of Envoy's v2 API, for Envoys of the years of 1.5 (XDS_V2).
    RestV2,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transport: Transport::AdsDelta,
            control_plane: XdsListen::Tcp(SocketAddr::from(([127, 0, 0, 1], 5000))),
            cluster_name: "xds_cluster".to_owned(),
            envoy_admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            refresh_delay: Duration::from_millis(200),
            tls: None,
        }
    }
}

/// Prints the bootstrap. Exit code 2 for a bad setting, 1 when it cannot be printed.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match arguments.mean() {
        Ok(config) => config,
        Err(error) => {
            say(&format!("error: {error}"));
            return USAGE.into();
        }
    };
    if let Some(hint) = arguments.tls.hint(&config.control_plane) {
        say(&hint);
    }
    let client = config.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let text = match (arguments.tls.print, client) {
        (Print::Secrets, Some(client)) => client.secrets(),
        (Print::Secrets | Print::Bootstrap, _) => yaml(&config),
    };
    let mut output = std::io::stdout();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: cannot print the bootstrap: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn mean(&self) -> Result<Config, Error> {
        let defaults = Config::default();
        let control_plane = self.link.listen()?;
        Ok(Config {
            transport: self.transport,
            tls: self.tls.mean(&control_plane)?,
            control_plane,
            cluster_name: self.link.cluster_name()?,
            envoy_admin: self.envoy_admin,
            refresh_delay: self.link.refresh_delay()?.unwrap_or(defaults.refresh_delay),
        })
    }
}

/// The bootstrap for `config`, as YAML for people to read and change.
///
/// Only values are filled in, each as a JSON text or number, which YAML takes as it is; so no
/// value can end its line and begin another.
pub fn yaml(config: &Config) -> String {
    let (sources, api, breakers) = match config.transport {
        Transport::Rest => (REST, "REST", REST_BREAKERS),
        Transport::Ads => (ADS, "GRPC", ""),
        Transport::AdsDelta => (ADS, "DELTA_GRPC", ""),
        Transport::RestV2 => return v2::bootstrap_yaml(&old_fleet(config)),
    };
    let tls = config.tls.as_ref().map(tls::transport_socket);
    let tls = tls.unwrap_or_default();
    TEMPLATE
        .replace("{sources}", sources)
        .replace("{api}", api)
        .replace("{breakers}", breakers)
        .replace("{tls}", &tls)
        .replace("{admin}", &socket_address(config.envoy_admin))
        .replace("{refresh_delay}", &text(&seconds(config.refresh_delay)))
        .replace("{control_plane}", &control_plane(&config.control_plane))
        .replace("{cluster_name}", &text(config.cluster_name.as_ref()))
}

/// The same for Envoys that poll the v2 API.
fn old_fleet(config: &Config) -> v2::Bootstrap {
    v2::Bootstrap {
        admin: socket_address(config.envoy_admin),
        refresh_delay: text(&seconds(config.refresh_delay)),
        control_plane: control_plane(&config.control_plane),
        cluster_name: text(&config.cluster_name),
        tls: config.tls.as_ref().map(|tls| v2::BootstrapTls {
            authority: tls::path(&tls.authority),
            name: text(&tls.name),
            own: tls.client.as_ref().map(|own| {
                let files = (&own.certificate, &own.key);
                (tls::path(files.0), tls::path(files.1))
            }),
        }),
    }
}

const TEMPLATE: &str = r#"# Envoy's bootstrap: where its control plane is. All else comes from there.
#
#   envoy -c bootstrap.yaml --service-node "$(hostname)" --service-cluster edge
#
# The node is left to the command line, so that one file serves a fleet. Give every Envoy a node id
# of its own: what the control plane knows of an Envoy (accepted, refused) it knows by this id.

admin:
  # Whoever reaches this port can stop Envoy and read its configuration: keep it on loopback.
  address:
    socket_address: {admin}

{sources}
static_resources:
  clusters:
    - name: {cluster_name}
      type: STATIC
      connect_timeout: 2s
      load_assignment:
        cluster_name: {cluster_name}
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address:
                    {control_plane}
{breakers}{tls}      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              # Finds a control plane that vanished without a word within 35 s, though
              # nothing is said for as long as nothing changes.
              connection_keepalive:
                interval: 30s
                timeout: 5s
      # The same for what lies between: firewalls forget silent connections.
      upstream_connection_options:
        tcp_keepalive:
          keepalive_time: 30
          keepalive_interval: 10
          keepalive_probes: 3
"#;

const REST: &str = r#"dynamic_resources:
  cds_config: &control_plane
    resource_api_version: V3
    # No time limit: an Envoy that knows nothing yet is not ready, rather than ready and empty
    # (the default would be 15 s).
    initial_fetch_timeout: 0s
    api_config_source:
      api_type: {api}
      transport_api_version: V3
      # Exactly one name for REST. Further control planes are further endpoints of this cluster.
      cluster_names: [{cluster_name}]
      # The rest between an answer and the next poll is this plus a random part of this. There is
      # no other back-off: with the control plane away, this is how often each poll is tried again.
      # Never below 0.01s: under 1 ms Envoy 1.40 crashes.
      refresh_delay: {refresh_delay}
      # Polls are held until something changes. The control plane answers in good time before this
      # limit, which every poll names; the default of 1 s would end each held poll as a failure.
      request_timeout: 90s
  lds_config: *control_plane
"#;

const REST_BREAKERS: &str = r"      # Every application has a poll of its own that is held: above the default of 1024, the
      # applications beyond would take turns and be late.
      circuit_breakers:
        thresholds:
          - max_connections: 100000
            max_pending_requests: 100000
            max_requests: 100000
      # HTTP/2 carries all polls on one connection; HTTP/1.1 would open one for each.
";

const ADS: &str = r#"dynamic_resources:
  ads_config:
    # One stream for everything, so that the control plane keeps the order: no request meets a route
    # before its cluster.
    api_type: {api}
    transport_api_version: V3
    # The node is 60 kB and never changes.
    set_node_on_first_message_only: true
    grpc_services:
      # Further control planes are further endpoints of this cluster.
      - envoy_grpc:
          cluster_name: {cluster_name}
          # Back within a second of a control plane that was away; the default waits up to 30 s.
          retry_policy:
            retry_back_off:
              base_interval: 0.1s
              max_interval: 1s
  cds_config: &control_plane
    resource_api_version: V3
    # No time limit: an Envoy that knows nothing yet is not ready, rather than ready and empty
    # (the default would be 15 s).
    initial_fetch_timeout: 0s
    ads: {}
  lds_config: *control_plane
"#;

fn control_plane(place: &XdsListen) -> String {
    match place {
        XdsListen::Tcp(address) => format!(
            "socket_address: {}",
            socket_address(SocketAddr::new(reachable(address.ip()), address.port()))
        ),
        XdsListen::Unix(path) => {
            format!("pipe: {{ path: {} }}", text(&path.to_string_lossy()))
        }
    }
}

/// Where to connect to for what is bound to `address`.
pub(super) fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

fn socket_address(address: SocketAddr) -> String {
    format!(
        "{{ address: {}, port_value: {} }}",
        text(&address.ip().to_string()),
        address.port()
    )
}

/// A text in double quotes, with JSON's escapes, which are YAML's too. Braces are escaped as well,
/// so that no value looks like a place to fill in.
fn text(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.replace('{', r"\u007b")
}

/// A duration as protobuf's JSON spells it: seconds with as many decimals as it takes.
fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_protobuf_wants_them() {
        for (millis, expected) in [
            (200, "0.2s"),
            (10, "0.01s"),
            (1500, "1.5s"),
            (2000, "2s"),
            (100_000, "100s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn all_interfaces_are_reached_by_loopback() {
        for (listen, expected) in [
            (
                "0.0.0.0:5000",
                r#"socket_address: { address: "127.0.0.1", port_value: 5000 }"#,
            ),
            (
                "[::]:5000",
                r#"socket_address: { address: "::1", port_value: 5000 }"#,
            ),
            (
                "10.0.0.7:1",
                r#"socket_address: { address: "10.0.0.7", port_value: 1 }"#,
            ),
        ] {
            let place = XdsListen::Tcp(listen.parse().unwrap());
            assert_eq!(control_plane(&place), expected);
        }
    }

    #[test]
    fn a_path_cannot_break_out_of_its_line() {
        let path = "a\"]\n# {admin} \\ {refresh_delay}\u{7}é".to_owned();
        let written = yaml(&Config {
            control_plane: XdsListen::Unix(path.clone().into()),
            ..Config::default()
        });
        let quoted = text(&path);
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), path);
        assert!(written.contains(&format!("pipe: {{ path: {quoted} }}\n")));
        assert_eq!(
            written.lines().count(),
            yaml(&Config::default()).lines().count()
        );
    }

    #[test]
    fn bootstrap_yaml_is_what_the_defaults_write() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/bootstrap.yaml");
        let written = yaml(&Config::default());
        #[expect(clippy::disallowed_methods, reason = "UPDATE=1 is for this test alone")]
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(path, &written).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(committed, written, "UPDATE=1 cargo test rewrites it");
    }

    #[cfg(feature = "demo")]
    mod with_envoy {
        use bytes::Bytes;
        use http::{Request, Response, Version};
        use http_body_util::{BodyExt as _, Full};
        use hyper::body::Incoming;
        use hyper::service::service_fn;
        use hyper_util::rt::{TokioExecutor, TokioIo};
        use tokio::io::{AsyncRead, AsyncWrite};
        use tokio::net::{TcpListener, UnixListener};

        use super::*;
        use crate::sim::envoy::{Envoy, Options, binary_for_tests};

        async fn check(config: &Config) {
            let binary = binary_for_tests().await;
            Envoy::validate(&binary, &yaml(config), &Options::default())
                .await
                .unwrap();
        }

        #[tokio::test]
        async fn envoy_accepts_the_defaults() {
            check(&Config::default()).await;
        }

        #[tokio::test]
        async fn envoy_accepts_every_transport_a_unix_socket_ipv6_and_a_name_like_a_number() {
            let transports = Transport::value_variants().iter();
            // An Envoy that knows v3 knows nothing else.
            for transport in transports.filter(|one| **one != Transport::RestV2) {
                check(&Config {
                    transport: *transport,
                    ..Config::default()
                })
                .await;
            }
            check(&Config {
                control_plane: XdsListen::Unix("/run/a \"b\"/é: {cluster_name} #.sock".into()),
                cluster_name: "123".to_owned(),
                envoy_admin: "[::1]:0".parse().unwrap(),
                refresh_delay: Duration::from_secs(1),
                ..Config::default()
            })
            .await;
            check(&Config {
                control_plane: XdsListen::Tcp("[::]:5000".parse().unwrap()),
                ..Config::default()
            })
            .await;
        }

        #[tokio::test]
        async fn envoy_accepts_tls_with_and_without_a_certificate_of_its_own() {
            let folder = tempfile::TempDir::new().unwrap();
            let mut params = rcgen::CertificateParams::new(["edge \"{name}\"".to_owned()]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            let put = |name: &str, content: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, content).unwrap();
                path
            };
            let client = ClientFiles {
                certificate: put("cert {name}.pem", &params.self_signed(&key).unwrap().pem()),
                key: put("key.pem", &key.serialize_pem()),
                secrets: None,
            };
            let named = |name: &str| Tls {
                authority: client.certificate.clone(),
                name: name.to_owned(),
                client: Some(client.clone()),
            };
            let watched = ClientFiles {
                secrets: Some(put("secrets.yaml", &client.secrets())),
                ..client.clone()
            };
            for tls in [
                named("xds.example"),
                named("10.0.0.7"),
                named("2001:db8::7"),
                Tls {
                    client: None,
                    ..named("xds.example")
                },
                Tls {
                    client: Some(watched),
                    ..named("xds.example")
                },
            ] {
                check(&Config {
                    tls: Some(tls),
                    ..Config::default()
                })
                .await;
            }
        }

        /// Answers every poll on one connection with nothing, and checks how it was asked.
        async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
            let answer = service_fn(async |poll: Request<Incoming>| {
                assert_eq!(poll.version(), Version::HTTP_2);
                assert_eq!(poll.headers()["x-envoy-expected-rq-timeout-ms"], "90000");
                let kind = poll.uri().path().rsplit(':').next().unwrap().to_owned();
                let body = poll.into_body().collect().await.unwrap().to_bytes();
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["node"]["id"], "test");
                assert_eq!(body["node"]["cluster"], "edge");
                if body["version_info"] == kind.as_str() {
                    std::future::pending::<()>().await;
                }
                let answer = format!(
                    r#"{{"version_info": "{kind}", "type_url": {}, "resources": []}}"#,
                    body["type_url"]
                );
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(answer))))
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        }

        /// An Envoy with `config` is not ready before `server` serves, and is then.
        async fn becomes_ready(config: &Config, server: impl Future<Output = ()>) {
            let config = Config {
                envoy_admin: SocketAddr::from(([127, 0, 0, 1], 0)),
                ..config.clone()
            };
            let binary = binary_for_tests().await;
            let mut envoy = Envoy::start(&binary, &yaml(&config), Options::default())
                .await
                .unwrap();
            assert!(!envoy.admin().is_ready().await.unwrap());
            tokio::select! {
                () = server => panic!("Envoy hung up"),
                ready = envoy.ready(Duration::from_secs(30)) => ready.unwrap(),
            }
            envoy.stop().await.unwrap();
        }

        #[tokio::test]
        async fn envoy_polls_over_http2_names_itself_and_is_ready_once_it_is_answered() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let config = Config {
                transport: Transport::Rest,
                control_plane: XdsListen::Tcp(listener.local_addr().unwrap()),
                ..Config::default()
            };
            becomes_ready(&config, async {
                serve(listener.accept().await.unwrap().0).await;
            })
            .await;
        }

        #[tokio::test]
        async fn envoy_polls_through_a_unix_socket() {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join("xds.sock");
            let listener = UnixListener::bind(&path).unwrap();
            let config = Config {
                transport: Transport::Rest,
                control_plane: XdsListen::Unix(path.clone()),
                ..Config::default()
            };
            becomes_ready(&config, async {
                serve(listener.accept().await.unwrap().0).await;
            })
            .await;
        }
    }
}
