//! Tests of the command: the text that it prints, and the use that a real Envoy makes of it.

use super::*;

#[test]
fn a_path_cannot_break_out_of_its_line() {
    let path = "a\"]\n# {admin} \\ {refresh_delay}\u{7}é".to_owned();
    let written = yaml(&Config {
        control_planes: vec![ControlPlane::Pipe(path.clone().into())],
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

#[derive(clap::Parser)]
struct Typed {
    #[command(flatten)]
    arguments: BootstrapArguments,
}

/// What these words mean on the command line, in an environment without variables.
fn meant(words: &str) -> Result<Config, String> {
    use clap::{CommandFactory as _, FromArgMatches as _};
    let words = ["bootstrap"].into_iter().chain(words.split_whitespace());
    let command = Typed::command().mut_args(|argument| argument.env(None));
    let matches = command.try_get_matches_from(words);
    let typed = matches.and_then(|matches| Typed::from_arg_matches(&matches));
    let arguments = typed.map_err(|error| error.to_string())?.arguments;
    arguments.config().map_err(|error| error.to_string())
}

#[test]
fn control_planes_are_those_that_were_named_else_the_one_of_xds_listen() {
    let places = |words: &str| {
        let meant = meant(words).unwrap().control_planes;
        meant.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(places(""), ["127.0.0.1:5000"]);
    assert_eq!(places("--xds-listen 0.0.0.0:1"), ["127.0.0.1:1"]);
    assert_eq!(places("--xds-listen unix:/x"), ["unix:/x"]);
    let named = "--control-plane a:1,10.0.0.7:2 --control-plane [::1]:3";
    let expected = ["a:1", "10.0.0.7:2", "[::1]:3"];
    assert_eq!(places(named), expected);
    // The environment of the daemon may say where it listens, whatever that is.
    assert_eq!(places(&format!("{named} --xds-listen nonsense")), expected);
}

#[test]
fn a_bad_control_plane_is_named_with_its_flag_and_what_to_write() {
    for (words, expected) in [
        (
            "--control-plane xds",
            "invalid value 'xds' for '--control-plane <HOST:PORT>': no port; write host:port",
        ),
        (
            "--control-plane a:1,",
            "invalid value '' for '--control-plane <HOST:PORT>': no port; write host:port",
        ),
        (
            "--control-plane a:1 --control-plane A:1",
            "--control-plane a:1: named twice; name each once",
        ),
    ] {
        let told = meant(words).unwrap_err();
        assert!(told.contains(expected), "{words}: {told}");
    }
}

#[test]
fn who_has_a_choice_checks_who_is_fit_and_names_are_looked_up() {
    for (typed, discovery_type, checked) in [
        ("10.0.0.7:1", "STATIC", false),
        ("10.0.0.7:1,[::1]:1", "STATIC", true),
        ("a.example:1", "STRICT_DNS", true),
        ("10.0.0.7:1,a.example:1", "STRICT_DNS", true),
    ] {
        for transport in ["rest", "ads", "ads-delta"] {
            let config = meant(&format!("--transport {transport} --control-plane {typed}"));
            let written = yaml(&config.unwrap());
            assert!(written.contains(&format!("      type: {discovery_type}\n")));
            let lookup = written.contains("dns_lookup_family: ALL\n");
            assert_eq!(lookup, discovery_type == "STRICT_DNS", "{typed}");
            for line in [
                "grpc_health_check: {}\n",
                "interval: 2s\n",
                "no_traffic_interval: 2s\n",
                "timeout: 1s\n",
                "unhealthy_threshold: 1\n",
                "healthy_threshold: 1\n",
                "healthy_panic_threshold: { value: 1 }\n",
            ] {
                let line = format!(" {line}");
                assert_eq!(written.contains(&line), checked, "{typed}: {line}");
            }
        }
    }
}

#[test]
fn polls_go_to_the_first_that_is_fit_and_streams_take_turns() {
    let priorities = |words: &str| {
        let written = yaml(&meant(words).unwrap());
        let lines = written.lines().map(str::trim);
        let lines =
            lines.filter(|line| line.starts_with("- priority: ") || *line == "- lb_endpoints:");
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let three = "--control-plane a:1,b:1,c:1";
    assert_eq!(
        priorities(&format!("--transport rest {three}")),
        ["- priority: 0", "- priority: 1", "- priority: 2"]
    );
    for words in ["--transport rest", "--transport rest --control-plane a:1"] {
        assert_eq!(priorities(words), ["- lb_endpoints:"]);
    }
    for transport in ["ads", "ads-delta"] {
        let words = format!("--transport {transport} {three}");
        assert_eq!(priorities(&words), ["- lb_endpoints:"]);
    }
}

#[test]
fn envoys_of_v2_have_every_control_plane_as_a_host() {
    let tls = "--envoy-ca ca.pem --xds-name x.example";
    let config = meant(&format!(
        "--transport rest-v2 --control-plane a.example:1,10.0.0.7:2 {tls}"
    ));
    let written = yaml(&config.unwrap());
    let hosts = "      type: STRICT_DNS\n      connect_timeout: 5s\n";
    assert!(written.contains(hosts), "{written}");
    let hosts = "      hosts:
        - socket_address: { address: \"a.example\", port_value: 1 }
        - socket_address: { address: \"10.0.0.7\", port_value: 2 }\n";
    assert!(written.contains(hosts), "{written}");
    let names = "verify_subject_alt_name: [\"x.example\", \"a.example\", \"10.0.0.7\"]\n";
    assert!(written.contains(names), "{written}");
    assert!(written.contains("sni: \"x.example\"\n"), "{written}");
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
    use sim::envoy::{Envoy, Options, Search};

    async fn binary() -> std::path::PathBuf {
        #[expect(clippy::disallowed_methods, reason = "a test's stand-in for settings")]
        let search = Search::from(|name| std::env::var_os(name));
        search.find().await.unwrap().binary
    }

    async fn check(config: &Config) {
        let binary = binary().await;
        if let Err(error) = Envoy::validate(&binary, &yaml(config), &Options::default()).await {
            panic!("{config:?}: {error}");
        }
    }

    /// A CA that is its own leaf, its key, and the two files of secrets, as TLS takes them.
    struct Files {
        folder: tempfile::TempDir,
        tls: Tls,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::TempDir::new().unwrap();
            let names = ["edge \"{name}\"".to_owned()];
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            let put = |name: &str, content: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, content).unwrap();
                path
            };
            let certificate = put("cert {name}.pem", &params.self_signed(&key).unwrap().pem());
            let client = ClientFiles {
                certificate: certificate.clone(),
                key: put("key.pem", &key.serialize_pem()),
                secrets: None,
            };
            let tls = Tls {
                authority: certificate,
                authority_secrets: None,
                names: vec!["xds.example".to_owned()],
                client: Some(client.clone()),
            };
            put("secrets.yaml", &client.secrets());
            put("ca-secrets.yaml", &tls.authority_secrets_yaml());
            Self { folder, tls }
        }

        /// TLS with everything read once.
        fn read_once(&self, names: &[&str]) -> Tls {
            Tls {
                names: names.iter().map(|&name| name.to_owned()).collect(),
                ..self.tls.clone()
            }
        }

        /// TLS with everything read again when it is exchanged.
        fn watched(&self, names: &[&str]) -> Tls {
            let folder = self.folder.path();
            let mut tls = self.read_once(names);
            tls.authority_secrets = Some(folder.join("ca-secrets.yaml"));
            let client = tls.client.as_mut().unwrap();
            client.secrets = Some(folder.join("secrets.yaml"));
            tls
        }
    }

    #[tokio::test]
    async fn envoy_accepts_every_variant() {
        let files = Files::new();
        let anonymous = Tls {
            client: None,
            ..files.read_once(&["xds.example"])
        };
        let anonymous_watched = Tls {
            client: None,
            ..files.watched(&["xds.example"])
        };
        let names = ["xds.example", "10.0.0.7", "2001:db8::7"];
        let places = [
            "127.0.0.1:5000",
            "127.0.0.1:5000,[2001:db8::7]:5000",
            "[fe80::1%2]:5000",
            "localhost:5000",
            "a.example:5000,b_1.example.:5001,10.0.0.7:5000,[::1]:5000",
        ];
        let every_tls = [
            None,
            Some(anonymous),
            Some(anonymous_watched),
            Some(files.read_once(&names)),
            Some(files.read_once(&["10.0.0.7"])),
            Some(files.watched(&names)),
        ];
        // An Envoy that knows v3 knows nothing else.
        let transports = Transport::value_variants().iter();
        let transports = transports.filter(|one| **one != Transport::RestV2);
        let mut variants = Vec::new();
        for (places, transport) in places.iter().zip(transports.clone().cycle()) {
            let control_planes = places.split(',').map(|place| place.parse().unwrap());
            variants.push(Config {
                control_planes: control_planes.collect(),
                transport: *transport,
                ..Config::default()
            });
        }
        for transport in transports {
            for (tls, places) in every_tls.iter().zip(places.iter().cycle()) {
                let control_planes = places.split(',').map(|place| place.parse().unwrap());
                variants.push(Config {
                    control_planes: control_planes.collect(),
                    transport: *transport,
                    tls: tls.clone(),
                    ..Config::default()
                });
            }
        }
        variants.push(Config {
            control_planes: vec![ControlPlane::Pipe(
                "/run/a \"b\"/é: {cluster_name} #.sock".into(),
            )],
            cluster_name: "123".to_owned(),
            envoy_admin: "[::1]:0".parse().unwrap(),
            refresh_delay: Duration::from_secs(1),
            ..Config::default()
        });
        for config in &variants {
            check(config).await;
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
        let binary = binary().await;
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
            control_planes: vec![ControlPlane::Address(listener.local_addr().unwrap())],
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
            control_planes: vec![ControlPlane::Pipe(path.clone())],
            ..Config::default()
        };
        becomes_ready(&config, async {
            serve(listener.accept().await.unwrap().0).await;
        })
        .await;
    }
}
