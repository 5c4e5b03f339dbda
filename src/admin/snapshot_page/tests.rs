//! Pages put together, and compared with what they stand for.

use envoy_api::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_api::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_api::envoy::extensions::transport_sockets::tls::v3::{
    Secret, TlsCertificate, secret::Type,
};
use envoy_api::prost::Message as _;

use super::*;
use crate::admin::page_body::chunk;
use crate::snapshot::looked_at;
use crate::state::problem::{Reason, Subject};

fn text(pieces: PagePieces) -> String {
    pieces.collect()
}

fn snapshot(resources: impl IntoIterator<Item = (Kind, &'static str, Vec<u8>)>) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (kind, name, bytes) in resources {
        let resource = Resource::fixed(name.into(), bytes.into());
        snapshot.insert(kind, Arc::new(resource));
    }
    Arc::new(snapshot)
}

fn table(hosts: usize) -> Vec<u8> {
    let host = |number: usize| VirtualHost {
        name: format!("/web-{number}_0"),
        domains: vec![format!("host-{number}.example.com")],
        ..VirtualHost::default()
    };
    let table = RouteConfiguration {
        name: "http".to_owned(),
        virtual_hosts: (0..hosts).map(host).collect(),
        ..RouteConfiguration::default()
    };
    table.encode_to_vec()
}

/// The page with the resources of `snapshot`, read again.
fn shown(snapshot: Arc<Snapshot>) -> Value {
    let page = served(
        snapshot,
        Filter::default(),
        None,
        Arc::default(),
        Vec::new(),
    );
    serde_json::from_str(&text(page)).unwrap()
}

#[test]
fn the_page_is_laid_out_for_people() {
    let problem = Problem {
        subject: Subject::App("/shop/web".into()),
        label: None,
        reason: Reason::InvalidLabel,
        message: "\"a b\" is no host".to_owned(),
        remedy: "write one".to_owned(),
    };
    let snapshot = snapshot([(Kind::Cluster, "/web_0", b"\x0a\x06/web_0".to_vec())]);
    let filter = Filter {
        kind: Some(Kind::Cluster),
        ..Filter::default()
    };
    let page = text(served(
        snapshot.clone(),
        filter,
        None,
        Arc::new(vec![problem]),
        Vec::new(),
    ));
    let version = snapshot.index(Kind::Cluster).version().to_string();
    let of_resource = snapshot
        .resource(Kind::Cluster, "/web_0")
        .unwrap()
        .version();
    let expected = format!(
        r#"{{
  "ready": true,
  "problems": [
    {{
      "label": null,
      "message": "\"a b\" is no host",
      "reason": "invalid_label",
      "remedy": "write one",
      "subject": {{
        "kind": "app",
        "name": "/shop/web"
      }}
    }}
  ],
  "clusters": {{
    "version": "{version}",
    "resources": [
      {{
        "name": "/web_0",
        "resource": {{
          "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
          "name": "/web_0"
        }},
        "version": "{of_resource}"
      }}
    ]
  }}
}}
"#
    );
    assert_eq!(page, expected);
}

#[test]
fn nothing_served_is_a_page_too() {
    let page = shown(Arc::default());
    let empty = json!({ "version": "0".repeat(32), "resources": [] });
    for kind in Kind::ALL {
        assert_eq!(page[kind.as_str()], empty);
    }
}

#[test]
fn a_large_resource_is_shown_in_pieces_and_is_the_same() {
    let bytes = table(1_000);
    assert!(bytes.len() > LARGEST_WHOLE_BYTES);
    let snapshot = snapshot([(Kind::Route, "http", bytes.clone())]);
    let resource = snapshot.resource(Kind::Route, "http").unwrap().clone();
    let largest = resource_pieces(Kind::Route, resource, 3).map(|piece| piece.len());
    assert!(largest.max().unwrap() < 1_024, "a virtual host at most");

    let page = shown(snapshot);
    let whole = envoy_api::json(Kind::Route.type_url(), &bytes).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(page["routes"]["resources"][0]["resource"], whole);
    assert_eq!(page["routes"]["resources"][0]["name"], "http");
}

#[test]
fn a_large_resource_shows_no_key_either() {
    // A key where no field of a listener is: bytes that are a secret inside of a filter chain's
    // transport socket, as Envoy allows it.
    let certificate = TlsCertificate {
        private_key: Some(DataSource {
            specifier: Some(Specifier::InlineString("canary".to_owned())),
            ..DataSource::default()
        }),
        ..TlsCertificate::default()
    };
    let secret = Secret {
        name: "web".to_owned(),
        r#type: Some(Type::TlsCertificate(certificate)),
    };
    let socket = envoy_api::envoy::config::core::v3::TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(
            envoy_api::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig(
                envoy_api::any(&secret),
            ),
        ),
    };
    let chain = FilterChain {
        name: "x".repeat(LARGEST_WHOLE_BYTES),
        transport_socket: Some(socket),
        ..FilterChain::default()
    };
    let listener = Listener {
        name: "https".to_owned(),
        filter_chains: vec![chain],
        ..Listener::default()
    };
    let snapshot = snapshot([(Kind::Listener, "https", listener.encode_to_vec())]);
    let page = shown(snapshot).to_string();
    assert!(page.contains("\"private_key\":\"[redacted]\""));
    assert!(!page.contains("canary"));
}

#[test]
fn what_no_message_is_shown_as_such_whatever_its_size() {
    for size in [1, 2 * LARGEST_WHOLE_BYTES] {
        let page = shown(snapshot([(Kind::Route, "http", vec![0xff; size])]));
        assert_eq!(
            page["routes"]["resources"][0]["resource"]["error"],
            "the bytes are not a envoy.config.route.v3.RouteConfiguration"
        );
    }
}

/// A snapshot of 10,000 clusters and a table of 10,000 hosts.
fn large() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for number in 0..10_000 {
        let name = format!("/shop/web-{number:05}_0");
        let host = VirtualHost {
            name: name.clone(),
            ..VirtualHost::default()
        };
        // The name is the first field of both messages.
        let cluster = Resource::fixed(name.as_str().into(), host.encode_to_vec().into());
        snapshot.insert(Kind::Cluster, Arc::new(cluster));
    }
    let routes = Resource::fixed("http".into(), table(10_000).into());
    snapshot.insert(Kind::Route, Arc::new(routes));
    Arc::new(snapshot)
}

#[test]
fn a_page_of_ten_thousand_apps_is_made_a_few_resources_at_a_time() {
    let filter = Filter::default();
    let mut page = served(large(), filter, None, Arc::default(), Vec::new());
    let (mut chunks, mut text) = (0, String::new());
    loop {
        let (next, visited) = looked_at::during(|| chunk(page));
        let Some((bytes, rest)) = next else {
            break;
        };
        assert!(visited <= 300, "{visited} resources for one chunk");
        assert!(bytes.len() <= 48 * 1024, "{} bytes", bytes.len());
        text.push_str(std::str::from_utf8(&bytes).unwrap());
        chunks += 1;
        page = rest;
    }
    assert!(chunks > 50);
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        page["clusters"]["resources"].as_array().unwrap().len(),
        10_000
    );
}

#[test]
fn a_part_of_the_page_visits_no_more_than_it_shows() {
    let query = "kind=clusters&name=/shop/web-05*&limit=10&after=clusters:/shop/web-05100_0";
    let query = Query::parse(query, Filter::PARAMETERS).unwrap();
    let filter = Filter::new(query).unwrap();
    let snapshot = large();
    let (text, visited) = looked_at::during(|| {
        let last = last_of_page(&snapshot, &filter);
        text(served(snapshot, filter, last, Arc::default(), Vec::new()))
    });
    assert!(visited <= 2 * 11 + 2, "{visited} resources");
    let page: Value = serde_json::from_str(&text).unwrap();
    let shown = page["clusters"]["resources"].as_array().unwrap();
    let names = shown.iter().map(|one| one["name"].as_str().unwrap());
    let wanted = (5_101..=5_110).map(|number| format!("/shop/web-{number:05}_0"));
    assert_eq!(names.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
}
