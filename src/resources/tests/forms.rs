//! What resources have besides their bytes: where they come from, and other forms of the same.

use envoy_api::envoy::config::core::v3::data_source::Specifier;
use envoy_api::envoy::extensions::transport_sockets::tls::v3::{TlsCertificate, secret::Type};

use super::*;
use crate::snapshot::{Origin, Part};

fn secure(id: &str, pairs: &[(&str, &str)]) -> App {
    let redirect = [("HAPROXY_0_REDIRECT_TO_HTTPS", "true")];
    labelled(id, &[pairs, &redirect].concat())
}

fn route_table(projection: &Projector, table: RouteTable) -> &Arc<Resource> {
    let snapshot = projection.snapshot();
    snapshot.resource(Kind::Route, table.name()).unwrap()
}

fn table_of(resource: &Resource) -> RouteConfiguration {
    RouteConfiguration::decode(resource.encoded(Flavour::Ads).bytes().clone()).unwrap()
}

fn parts(resource: &Resource) -> Vec<(String, String)> {
    let Origin::Parts(parts) = resource.head().origin() else {
        panic!("a table is made of parts");
    };
    let shown = |part: Part| (part.name.to_string(), part.origin.to_string());
    parts.iter().map(shown).collect()
}

fn versions(resource: &Resource) -> Vec<Version> {
    let Origin::Parts(parts) = resource.head().origin() else {
        panic!("a table is made of parts");
    };
    parts.iter().map(|part| part.version).collect()
}

#[test]
fn a_secret_in_its_other_encoding_is_another_message_with_the_same_chain_and_key() {
    let state = with_certificates(known(Vec::new()), vec![certificate("one", &["a.test"], 1)]);
    let projection = full(&state);
    let resource = projection.snapshot().resource(Kind::Secret, "one").unwrap();
    let usual = resource.encoded(Flavour::Ads).bytes();
    let other = resource.other_encoding().unwrap().bytes();
    let tls = |bytes: &bytes::Bytes| -> TlsCertificate {
        let secret = Secret::decode(bytes.clone()).unwrap();
        assert_eq!(secret.name, "one");
        match secret.r#type {
            Some(Type::TlsCertificate(tls)) => tls,
            other => panic!("{other:?}"),
        }
    };
    let [as_text, as_bytes] = [usual, other].map(|bytes| {
        let tls = tls(bytes);
        let sources = [tls.certificate_chain, tls.private_key];
        sources.map(|source| source.unwrap().specifier.unwrap())
    });
    for ((text, bytes), expected) in as_text.iter().zip(&as_bytes).zip(["chain", "key"]) {
        let expected = format!("{expected} of one");
        assert_eq!(*text, Specifier::InlineString(expected.clone()));
        assert_eq!(*bytes, Specifier::InlineBytes(expected.into()));
    }
    assert_eq!(resource.version(), Version::of_bytes(usual));
}

#[test]
fn a_resource_says_what_it_was_made_from() {
    let apps = vec![labelled("/shop/web", &[("HAPROXY_0_VHOST", "a.test")])];
    let from_vault = Event::CertificatesRead {
        source: Source::Vault,
        certificates: vec![
            certificate("one", &["a.test"], 1),
            certificate("two", &["b.test"], 1),
        ],
        problems: Vec::new(),
    };
    let state = reduce(known(apps), from_vault).0;
    let state = with_certificates(state, vec![certificate("one", &["a.test"], 1)]);
    let mut projection = full(&state);
    let origin = |projection: &Projector, kind, name: &str| {
        let resource = projection.snapshot().resource(kind, name).unwrap();
        resource.head().origin().text(name).unwrap().to_string()
    };
    let expected = [
        (Kind::Cluster, "/shop/web_0", "app /shop/web port 0"),
        (Kind::Endpoint, "/shop/web_0", "app /shop/web port 0"),
        (
            Kind::Listener,
            "http",
            "settings HTTP_LISTEN_ADDR and HTTP_LISTEN_PORT",
        ),
        (
            Kind::Listener,
            "https",
            "settings HTTPS_LISTEN_ADDR and HTTPS_LISTEN_PORT, certificates",
        ),
        (
            Kind::Secret,
            "one",
            "certificate one (from the certificates folder)",
        ),
        (Kind::Secret, "two", "certificate two (from Vault)"),
    ];
    for (kind, name, expected) in expected {
        assert_eq!(origin(&projection, kind, name), expected);
    }

    projection.project(&with_certificates(state, Vec::new()));
    assert_eq!(
        origin(&projection, Kind::Secret, "one"),
        "certificate one (from Vault)"
    );
}

#[test]
fn a_table_says_of_each_virtual_host_which_apps_it_was_made_from() {
    let two = labelled(
        "/b",
        &[("HAPROXY_0_VHOST", "a.test"), ("HAPROXY_0_PATH", "/b")],
    );
    let lost = labelled("/c", &[("HAPROXY_0_VHOST", "a.test")]);
    let asking = labelled("/a", &[("HAPROXY_0_VHOST", "a.test,*.test")]);
    let challenged = labelled("/d", &[("MARATHON_ACME_0_DOMAIN", "x.test")]);
    let before = known(vec![asking, two.clone(), lost, challenged, acme()]);
    let mut projection = full(&before);
    let expected = [
        ("*", "no app"),
        ("*.test", "/a"),
        ("a.test", "/a, /b"),
        ("x.test", "/a, /g/a"),
    ];
    let expected = expected.map(|(host, apps)| (host.to_owned(), apps.to_owned()));
    let table = route_table(&projection, RouteTable::Http);
    assert_eq!(parts(table), expected);

    let versions_before = versions(route_table(&projection, RouteTable::Http));
    let moved = labelled(
        "/b",
        &[("HAPROXY_0_VHOST", "a.test"), ("HAPROXY_0_PATH", "/c")],
    );
    let after = reduce(before, Event::AppChanged(listed(moved, Vec::new()))).0;
    projection.project(&after);
    let versions_after = versions(route_table(&projection, RouteTable::Http));
    let differ = versions_before.iter().zip(&versions_after);
    let differ: Vec<bool> = differ.map(|(before, after)| before != after).collect();
    assert_eq!(differ, [false, false, true, false]);
}

#[test]
fn a_table_with_redirects_has_a_second_form_without_them() {
    let apps = vec![
        secure("/a", &[("HAPROXY_0_VHOST", "a.test")]),
        labelled("/b", &[("HAPROXY_0_VHOST", "b.test")]),
    ];
    let plain = known(apps);
    let mut projection = full(&plain);
    for table in RouteTable::ALL {
        let resource = route_table(&projection, table);
        assert!(resource.needs_for_this_form().is_none(), "no redirects yet");
    }
    let without = table_of(route_table(&projection, RouteTable::Http));

    let secured = with_certificates(plain.clone(), vec![certificate("one", &["a.test"], 1)]);
    projection.project(&secured);
    let https = route_table(&projection, RouteTable::Https);
    assert!(https.needs_for_this_form().is_none());
    let http = route_table(&projection, RouteTable::Http);
    let needed = (Kind::Listener, Name::from("https"));
    assert_eq!(http.needs_for_this_form(), Some(&needed));
    let substitute = http.substitute().unwrap();
    assert_eq!(substitute.name(), http.name());
    assert_ne!(substitute.version(), http.version());
    assert_eq!(
        table_of(substitute),
        without,
        "as if there were no https listener"
    );
    assert_eq!(substitute.requires(), https.requires());
    assert_ne!(http.requires(), https.requires());
    assert_eq!(substitute.head().origin(), https.head().origin());
    let apps = [("*", "no app"), ("a.test", "/a"), ("b.test", "/b")];
    let apps = apps.map(|(host, apps)| (host.to_owned(), apps.to_owned()));
    assert_eq!(parts(http), apps);
    let (redirecting, direct) = (versions(http), versions(substitute));
    let differ = redirecting.iter().zip(&direct);
    let differ: Vec<bool> = differ.map(|(one, other)| one != other).collect();
    assert_eq!(differ, [false, true, false]);

    projection.project(&with_certificates(secured, Vec::new()));
    let http = route_table(&projection, RouteTable::Http);
    assert!(
        http.needs_for_this_form().is_none(),
        "no redirects any more"
    );
}

#[test]
fn the_second_form_follows_what_is_behind_a_redirect_that_stays_as_it_is() {
    let redirected = |index: usize| {
        let labels = ["VHOST", "REDIRECT_TO_HTTPS"].map(|key| format!("HAPROXY_{index}_{key}"));
        let [host, redirect] = &labels;
        let mut app = labelled("/a", &[(host, "a.test"), (redirect, "true")]);
        app.layout = Arc::new(state::app::Layout::of_app(
            app.layout.networking,
            vec![port(None, true); 2],
        ));
        app
    };
    let state = with_certificates(
        known(vec![redirected(0)]),
        vec![certificate("one", &["a.test"], 1)],
    );
    let mut projection = full(&state);
    let before = route_table(&projection, RouteTable::Http).clone();
    let _made = before.substitute();

    let moved = Event::AppChanged(listed(redirected(1), Vec::new()));
    let changed = projection.project(&reduce(state, moved).0);
    let now = route_table(&projection, RouteTable::Http);
    assert_eq!(now.version(), before.version());
    assert_eq!(now.head().origin(), before.head().origin());
    let [old, new] = [&before, now].map(|table| table.substitute().unwrap());
    assert_ne!(old.version(), new.version());
    let requires = new.requires().iter().map(|(_, name)| &**name);
    assert_eq!(requires.collect::<Vec<_>>(), ["/a_1", "/a_1"]);
    assert!(changed.resources.of(Kind::Route).contains("http"));
}

#[test]
fn a_cluster_that_left_is_made_again_as_it_was() {
    let projection = full(&known(vec![labelled("/shop/web", &[])]));
    let name = Name::from("/shop/web_0");
    let cluster = projection
        .snapshot()
        .resource(Kind::Cluster, &name)
        .unwrap();
    let again = departed(projection.clusters(), Kind::Cluster, &name).unwrap();
    assert_eq!(again.head(), cluster.head());
    assert_eq!(again.head().origin(), cluster.head().origin());
    for flavour in Flavour::ALL {
        assert_eq!(
            again.encoded(flavour).bytes(),
            cluster.encoded(flavour).bytes()
        );
    }
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Cluster) {
        assert!(departed(projection.clusters(), kind, &name).is_none());
    }
    let foreign = Name::from("xds_cluster");
    assert!(departed(projection.clusters(), Kind::Cluster, &foreign).is_none());
}
