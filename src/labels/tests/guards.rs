//! What HAProxy keeps closed stays closed, or is named.

use super::*;

#[test]
fn a_line_hidden_in_a_value_closes_the_port_if_it_restricts_access() {
    let deny = "\n  http-request deny unless { src 10.0.0.1 }";
    for (name, value) in [
        ("BALANCE", "roundrobin"),
        ("MODE", "http"),
        ("STICKY", "true"),
        ("USE_HSTS", "true"),
        ("BIND_ADDR", "*"),
        ("SSL_CERT", "/a.pem"),
        ("BACKEND_WEIGHT", "1"),
    ] {
        let key = format!("HAPROXY_0_{name}");
        let hidden = format!("{value}{deny}");
        let labels = [("HAPROXY_0_VHOST", "a"), (key.as_str(), hidden.as_str())];
        let (route, problems) = with_service_port(&with_ports(), &labels);
        assert!(!route.is_reached(), "{key}: {route:?}");
        let [problem] = &*problems else {
            panic!("{key}: {problems:?}");
        };
        assert_eq!(problem.reason, Reason::UnsupportedGuard, "{key}");
        assert_eq!(problem.label.as_deref(), Some(key.as_str()));
    }
    let hosts = ("HAPROXY_0_VHOST", "a.test,\n  b.test");
    let (route, problems) = with_service_port(&with_ports(), &[hosts]);
    assert_eq!((route.hosts().len(), problems), (2, Vec::new()));
}

#[test]
fn a_login_that_nobody_is_asked_for_is_a_problem_and_no_guard() {
    let auth = ("HAPROXY_0_AUTH", "realm:user:$1$abc$BXBqpb9BZcZhXLgbee.0s/");
    let host = ("HAPROXY_0_VHOST", "a");
    let tcp = ("HAPROXY_0_MODE", "tcp");
    let (route, problems) = with_service_port(&with_ports(), &[host, auth]);
    assert!(route.login.is_some() && problems.is_empty(), "{problems:?}");
    let http = ("HAPROXY_0_MODE", "http");
    for (labels, why) in [
        (vec![http, auth], "has no host"),
        (vec![tcp, auth], "speaks tcp"),
    ] {
        let (route, problems) = with_service_port(&with_ports(), &labels);
        assert!(route.login.is_none() && route.listener.is_some());
        let [problem] = &*problems else {
            panic!("one problem: {problems:?}");
        };
        assert_eq!(problem.label.as_deref(), Some(auth.0));
        assert!(problem.message.contains(why), "{problem}");
        assert!(
            problem.remedy.contains("AUTH_ON_SERVICE_PORTS"),
            "{problem}"
        );
    }
    let mut everywhere = with_ports();
    everywhere.ports.ask_for_logins = true;
    let (route, problems) = with_service_port(&everywhere, &[http, auth]);
    assert!(route.login.is_some() && problems.is_empty(), "{problems:?}");
}

#[test]
fn an_app_has_at_most_five_thousand_routes() {
    let list = |count: usize, separator: &str, word: fn(usize) -> String| {
        let words: Vec<String> = (0..count).map(word).collect();
        words.join(separator)
    };
    let hosts = list(100, ",", |at| format!("h{at}.test"));
    let paths = list(50, " ", |at| format!("/p{at}"));
    let more = list(51, " ", |at| format!("/p{at}"));
    let of = |paths: &str| {
        let labels = [("HAPROXY_0_VHOST", &*hosts), ("HAPROXY_0_PATH", paths)];
        with_service_port(&with_ports(), &labels)
    };
    let (route, found) = of(&paths);
    assert_eq!((route.hosts().len(), route.paths().len()), (100, 50));
    assert_eq!(found, []);
    let (route, found) = of(&more);
    assert_eq!((route.hosts().len(), route.paths().len()), (0, 0));
    assert!(route.listener.is_some());
    let [problem] = &*found else {
        panic!("one problem: {found:?}");
    };
    assert_eq!(problem.label.as_deref(), Some("HAPROXY_0_VHOST"));
    assert!(problem.message.contains("5000 routes"), "{problem}");
    // The ports of an app share them.
    let intent = labelled(&[
        ("HAPROXY_0_VHOST", &hosts),
        ("HAPROXY_0_PATH", &paths),
        ("HAPROXY_1_VHOST", "other.test"),
    ]);
    assert_eq!(
        problems(&intent),
        [(Some("HAPROXY_1_VHOST"), Reason::InvalidLabel)]
    );
}

#[test]
fn a_rule_of_hosts_is_read_for_the_ports_that_it_is_for_alone() {
    let sni = "use_backend {backend} if {{ ssl_fc_sni -m end .{hostname} }}";
    let end = "acl h hdr_end(host) -i .{hostname}\nuse_backend {backend} if h";
    let condition = "acl host_{cleanedUpHostname} hdr_end(host) -i .{hostname}";
    let (one, two) = (
        ("HAPROXY_0_VHOST", "a.test"),
        ("HAPROXY_0_VHOST", "a.test,b.test"),
    );
    let path = ("HAPROXY_0_PATH", "/x");
    let auth = ("HAPROXY_0_AUTH", "realm:user:$1$abc$BXBqpb9BZcZhXLgbee.0s/");
    let redirect = ("HAPROXY_0_REDIRECT_TO_HTTPS", "true");
    for (labels, name, text, is_read) in [
        (vec![one], "HTTP_FRONTEND_ACL", end, true),
        (vec![two], "HTTP_FRONTEND_ACL", end, false),
        (vec![one, auth], "HTTP_FRONTEND_ACL", end, false),
        (vec![one], "HTTP_FRONTEND_ACL_ONLY", condition, false),
        (vec![two], "HTTP_FRONTEND_ACL_ONLY", condition, true),
        (vec![two, path], "HTTP_FRONTEND_ACL_ONLY", condition, true),
        (
            vec![one, path, redirect],
            "HTTP_FRONTEND_ACL_ONLY",
            condition,
            true,
        ),
        (vec![one], "HTTP_FRONTEND_ROUTING_ONLY", sni, false),
        (vec![two], "HTTP_FRONTEND_ROUTING_ONLY", sni, true),
        (vec![one], "HTTPS_FRONTEND_ACL", sni, true),
        (vec![two], "HTTPS_FRONTEND_ACL", sni, true),
        (vec![one, auth], "HTTPS_FRONTEND_ACL", sni, false),
    ] {
        let key = format!("HAPROXY_0_{name}");
        let mut labels = labels;
        labels.push((key.as_str(), text));
        let (route, problems) = with_service_port(&with_ports(), &labels);
        let added = route.hosts().iter().any(|host| host.starts_with("*."));
        let named = problems.iter().any(|problem| {
            problem.reason == Reason::InvalidLabel && problem.label.as_deref() == Some(&key)
        });
        assert_eq!(
            (added, named),
            (is_read, !is_read),
            "{labels:?} {problems:?}"
        );
    }
}

#[test]
fn a_value_that_says_less_than_it_seems_to_is_a_problem() {
    let (host, path) = ("HAPROXY_0_VHOST", "HAPROXY_0_PATH");
    for (key, value, told) in [
        (host, ",", "names no host"),
        (host, "\u{a0}", "names no host"),
        (host, "b\u{fc}cher.test", "xn--"),
        (host, "https://a.test", "without https://"),
        (host, "a.test/b", "the path into PATH"),
        (path, "/a,/b", "is one path"),
        ("HAPROXY_0_ENABLED", "1", "neither true nor false"),
    ] {
        let intent = labelled(&[(host, "a.test"), (key, value)]);
        let [problem] = &*intent.problems else {
            panic!("{key}={value}: {:?}", intent.problems);
        };
        assert_eq!(problem.label.as_deref(), Some(key));
        let words = format!("{problem}");
        assert!(words.contains(told), "{words}");
    }
    for (key, value) in [(host, ""), ("HAPROXY_0_ENABLED", "off"), (path, "/a, /b")] {
        let intent = labelled(&[(host, "a.test"), (key, value)]);
        let found = problems(&intent);
        assert_eq!(
            found.len(),
            usize::from(key == path),
            "{key}={value} {found:?}"
        );
    }
}

#[test]
fn a_guard_beside_the_prefix_closes_its_port() {
    for key in [
        " HAPROXY_0_AUTH",
        "HAPROXY-0-AUTH",
        "HAPROXI_0_AUTH",
        "HAPROXY_0_PASSWORD",
        "HAPROXY_0_WHITELIST",
        "HAPROXY_0_AUTHENTICATION",
        "HAPROXY_0_NETWORK_ACL",
    ] {
        assert_eq!(routed(&[(key, "x")]), [false, true], "{key}");
        let intent = labelled(&[(key, "x")]);
        assert_eq!(problems(&intent), [(Some(key), Reason::UnsupportedGuard)]);
    }
    let key = "HAPROXY-0-VHOST";
    assert_eq!(routed(&[(key, "x")]), [true, true]);
    let intent = labelled(&[(key, "x")]);
    assert_eq!(problems(&intent), [(Some(key), Reason::UnknownLabel)]);
}

#[test]
fn an_empty_rule_of_hosts_leaves_them_without_requests() {
    for name in ["HTTP_FRONTEND_ACL", "HTTPS_FRONTEND_ACL"] {
        let condition = "acl host_{cleanedUpHostname} hdr(host) -i {hostname}";
        for text in ["", " \n", "# none", condition] {
            let key = format!("HAPROXY_0_{name}");
            let labels = [("HAPROXY_0_VHOST", "a"), (key.as_str(), text)];
            let (route, problems) = with_service_port(&with_ports(), &labels);
            assert_eq!((route.hosts().len(), route.listener.is_some()), (0, true));
            let [problem] = &*problems else {
                panic!("{key}: {problems:?}");
            };
            assert_eq!(problem.reason, Reason::UnsupportedLabel);
        }
    }
}

#[test]
fn a_rule_or_a_server_that_is_not_understood_closes_the_port() {
    let rule = "acl host_{cleanedUpHostname} hdr(host) -i {hostname}\nuse_backend {backend} if \
                host_{cleanedUpHostname}";
    for (name, text) in [
        ("HTTP_FRONTEND_ACL", format!("{rule} internal")),
        ("HTTPS_FRONTEND_ACL", format!("{rule} !external")),
        (
            "HTTP_FRONTEND_ACL",
            format!("{rule} {{{{ hdr(host-key) secret }}}}"),
        ),
        (
            "HTTP_FRONTEND_ACL_WITH_PATH",
            "acl path_{backend} path_end {path}".to_owned(),
        ),
        (
            "HTTP_FRONTEND_ACL_WITH_PATH",
            "acl path_{backend} path {path}".to_owned(),
        ),
        (
            "HTTP_FRONTEND_ACL",
            "acl h hdr_reg(host) -i {hostname}\nuse_backend {backend} if h".to_owned(),
        ),
        (
            "BACKEND_SERVER_OPTIONS",
            "server oauth proxy.test:4180 backup disabled".to_owned(),
        ),
        (
            "BACKEND_SERVER_OPTIONS",
            "server {serverName} {host}:4180".to_owned(),
        ),
        ("BACKEND_SERVER_OPTIONS", String::new()),
        ("BACKEND_SERVER_OPTIONS", "# off".to_owned()),
        (
            "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
            "check inter 2s disabled".to_owned(),
        ),
        (
            "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
            "check weight 0".to_owned(),
        ),
        ("BACKEND_HTTP_OPTIONS", "dispatch 10.0.0.5:80".to_owned()),
    ] {
        let key = format!("HAPROXY_0_{name}");
        assert_eq!(routed(&[(&key, &text)]), [false, true], "{key}={text}");
        let intent = labelled(&[(&key, &text)]);
        let found = problems(&intent);
        assert_eq!(
            found,
            [(Some(key.as_str()), Reason::UnsupportedGuard)],
            "{text}"
        );
    }
}

#[test]
fn an_app_is_not_reached_by_its_id_if_that_rule_is_not_understood() {
    let mut by_id = with_ports();
    by_id.ports.by_app_id = true;
    let usual = "acl app_{cleanedUpAppId} hdr(x-marathon-app-id) -i {appId}\nuse_backend {backend} \
                 if app_{cleanedUpAppId}";
    let key = "HAPROXY_0_HTTP_FRONTEND_APPID_ACL";
    let mode = ("HAPROXY_0_MODE", "http");
    for (text, is_reached) in [
        (usual.to_owned(), true),
        (String::new(), false),
        ("# off".to_owned(), false),
        (format!("{usual} internal"), false),
        (format!("{usual} {{{{ hdr(x-key) secret }}}}"), false),
    ] {
        let (route, _) = with_service_port(&by_id, &[mode, (key, &text)]);
        assert_eq!(route.by_app_id.is_some(), is_reached, "{text}");
    }
}

#[test]
fn comments_and_escapes_in_lists_are_haproxys() {
    let of = |labels: &[(&str, &str)]| {
        let (route, _) = with_service_port(&with_ports(), labels);
        let paths: Vec<String> = route
            .paths()
            .iter()
            .map(|path| path.prefix.clone())
            .collect();
        (texts(route.hosts()).join(" "), paths)
    };
    let host = ("HAPROXY_0_VHOST", "x.test # y.test");
    let (hosts, paths) = of(&[host, ("HAPROXY_0_PATH", "/public # /internal")]);
    assert_eq!(
        (hosts, paths),
        ("x.test".to_owned(), vec!["/public".to_owned()])
    );
    let escaped = [host, ("HAPROXY_0_PATH", "/public\\ /internal")];
    assert_eq!(of(&escaped).0, "");
    let (_, problems) = with_service_port(&with_ports(), &escaped);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let (hosts, _) = of(&[("HAPROXY_0_VHOST", "-i x.test")]);
    assert_eq!(hosts, "x.test");
}

#[test]
fn networks_and_headers_count_among_the_routes_of_an_app() {
    let networks: Vec<String> = (0..500)
        .map(|at| format!("10.0.{}.{}", at / 250, at % 250))
        .collect();
    let networks = networks.join(" ");
    let paths: Vec<String> = (0..101).map(|at| format!("/p{at}")).collect();
    let paths = paths.join(" ");
    let headers = format!("http-request set-header X-A {}\n", "a".repeat(450)).repeat(99);
    let many: Vec<String> = (0..300).map(|at| format!("/p{at}")).collect();
    let many = many.join(" ");
    let host = ("HAPROXY_0_VHOST", "a.test");
    for (path, more) in [
        (&paths, ("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", &networks)),
        (&many, ("HAPROXY_0_BACKEND_HTTP_OPTIONS", &headers)),
    ] {
        let path = ("HAPROXY_0_PATH", path.as_str());
        let (route, problems) = with_service_port(&with_ports(), &[host, path]);
        assert_eq!((route.hosts().len(), problems), (1, Vec::new()));
        let (route, problems) =
            with_service_port(&with_ports(), &[host, path, (more.0, more.1.as_str())]);
        assert_eq!((route.hosts().len(), problems.len()), (0, 1), "{more:?}");
    }
}

#[test]
fn a_rule_that_sends_requests_elsewhere_closes_the_port() {
    for text in [
        "acl h hdr(host) -i {hostname}\nuse_backend denied if { path /admin }\nuse_backend {backend} if h",
        "default_backend other",
    ] {
        let key = "HAPROXY_0_HTTP_FRONTEND_ACL";
        assert_eq!(routed(&[(key, text)]), [false, true], "{text}");
        let intent = labelled(&[(key, text)]);
        assert_eq!(problems(&intent), [(Some(key), Reason::UnsupportedGuard)]);
    }
}
