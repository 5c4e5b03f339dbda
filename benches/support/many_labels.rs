//! The labels of an app that has many.

/// Labels of most families, none of which changes the tasks that get requests.
pub(crate) const LABELS: [(&str, &str); 24] = [
    ("HAPROXY_0_PATH", "/api /web"),
    ("HAPROXY_0_HTTP_BACKEND_PROXYPASS_PATH", "/api"),
    ("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH", "/api"),
    ("HAPROXY_0_HTTP_BACKEND_REDIR", "/start"),
    ("HAPROXY_0_REDIRECT_TO_HTTPS", "true"),
    (
        "HAPROXY_0_BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
        "redirect scheme https code 301 if !{ ssl_fc } host_{cleanedUpHostname} path_{backend}",
    ),
    ("HAPROXY_0_USE_HSTS", "true"),
    (
        "HAPROXY_0_BACKEND_HSTS_OPTIONS",
        "rspadd Strict-Transport-Security:\\ max-age=1",
    ),
    ("HAPROXY_0_STICKY", "true"),
    (
        "HAPROXY_0_BACKEND_STICKY_OPTIONS",
        "cookie SRV insert indirect nocache",
    ),
    ("HAPROXY_0_BALANCE", "leastconn"),
    ("HAPROXY_0_BACKEND_WEIGHT", "7"),
    ("HAPROXY_0_AUTH", "realm:user:$1$abc$BXBqpb9BZcZhXLgbee.0s/"),
    (
        "HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL",
        "10.0.0.0/8 192.0.2.1",
    ),
    ("HAPROXY_0_MODE", "http"),
    ("HAPROXY_0_PORT", "10001"),
    ("HAPROXY_0_BIND_ADDR", "127.0.0.1"),
    ("HAPROXY_0_BIND_OPTIONS", "accept-proxy maxconn 100"),
    (
        "HAPROXY_0_BACKEND_HEAD",
        "backend {backend}\n  balance {balance}\n  mode {mode}\n  timeout server 30m",
    ),
    (
        "HAPROXY_0_BACKEND_HTTP_OPTIONS",
        "  option forwardfor\n  http-request set-header X-A b",
    ),
    (
        "HAPROXY_0_BACKEND_SERVER_OPTIONS",
        "  server {serverName} {host_ipv4}:{port}{cookieOptions}{healthCheckOptions}{otherOptions} maxconn 10",
    ),
    ("HAPROXY_0_BACKEND_PROTOCOL", "http1"),
    ("HAPROXY_0_BACKEND_MAX_REQUESTS", "100"),
    ("HAPROXY_0_BACKEND_MAX_CONNECTIONS", "100"),
];
