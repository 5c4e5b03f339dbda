//! Template labels: HAProxy's own text in place of one piece of the configuration of a port.

use crate::labels::check_options;
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::frontend_text::{self, FrontendText};
use crate::labels::guard_text;
use crate::labels::idioms;
use crate::labels::label::{Family, Label, ReadPart, Support, ValueKind};
use crate::labels::report::GUARD_REMEDY;
use crate::labels::server_line::{read_server, server_line};
use crate::state::problem::Reason;

const FRONTEND: &str = "marathon-lb's own text, also with `timeout client`; empty, or without a line that \
     listens or one that says which app answers, the service port is not opened, nor if it restricts access \
     or listens elsewhere; any other text is left out";
const ROUTING: Support = Support::ForIdioms {
    read: idioms::read_routing,
    recognises: idioms::is_routing,
    idioms: "conditions of hosts (`hdr(host)`, `hdr_end(host)`, `ssl_fc_sni`) and of paths \
             (`path_beg`, `path_reg`), or `default_backend`: what they add is added on the http and \
             the https port, beside the hosts of `VHOST`",
    instead: "routes follow the labels VHOST and PATH",
};
const REDIRECT: Support = Support::ForIdioms {
    read: idioms::read_redirect,
    recognises: idioms::is_redirect,
    idioms: "marathon-lb's own text, also with status 302, 303, 307 or 308",
    instead: "the redirect is what REDIRECT_TO_HTTPS asks for",
};
const fn backend_section(instead: &'static str) -> Support {
    Support::ForIdioms {
        read: idioms::read_section,
        recognises: idioms::is_section,
        idioms: "the usual options; `balance`; `timeout server` and `timeout tunnel`; `set-header`, \
                 `add-header`, `del-header` without a condition; a redirect to https, also behind a \
                 proxy that says `X-Forwarded-Proto` (with `TRUSTED_HOPS`)",
        instead,
    }
}
const fn lines_of_checks(read: ReadPart) -> Support {
    Support::ForIdioms {
        read,
        recognises: check_options::is_check_lines,
        idioms: "`option httpchk` with GET, HEAD or OPTIONS, a path and a `Host`; `http-check send`; \
                 `http-check expect status`; `timeout check`. With `ACTIVE_HEALTH_CHECKS` proxies check \
                 tasks so",
        instead: USUAL_CHECKS,
    }
}
const fn options_of_checks(read: ReadPart) -> Support {
    Support::ForIdioms {
        read,
        recognises: check_options::is_check_options,
        idioms: "`check` with `inter`, `fall`, `rise`, `port`, `check-ssl`; empty for no check. With \
                 `ACTIVE_HEALTH_CHECKS` proxies check tasks so",
        instead: USUAL_CHECKS,
    }
}
const USUAL_CHECKS: &str = "tasks are judged by the health checks of their definition";
const fn section(name: &'static str, support: Support, meaning: &'static str) -> Label {
    Label::of_port(name, ValueKind::Template, support, meaning)
}

const fn routing(name: &'static str, support: Support, meaning: &'static str) -> Label {
    Label::of_port(name, ValueKind::RoutingTemplate, support, meaning)
}

pub(crate) const FAMILY: Family = Family {
    title: "Templates",
    labels: &[
        section(
            "FRONTEND_HEAD",
            Support::in_part(read_head, FRONTEND),
            "the service port's `frontend`, with its `bind` line",
        ),
        section(
            "FRONTEND_BACKEND_GLUE",
            Support::in_part(read_glue, FRONTEND),
            "the service port's `use_backend` line",
        ),
        section(
            "BACKEND_HEAD",
            backend_section("the usual balancing and time-outs apply"),
            "the head of the `backend` section",
        ),
        Label::of_port(
            "BACKEND_SERVER_OPTIONS",
            ValueKind::ServerTemplate,
            Support::ForIdioms {
                read: read_server,
                recognises: is_server_line,
                idioms: "one `server` line for each task, also with a port of its own, or with a name or \
                         address of its own: requests go there. Of its options `ssl` with `verify` and \
                         `sni str(NAME)`, `maxconn`, `slowstart` and `send-proxy` are followed",
                instead: "requests go to the app's tasks, with the usual options",
            },
            "the `server` line of each task",
        ),
        section(
            "BACKEND_HTTP_OPTIONS",
            backend_section("requests and responses get the usual headers"),
            "the lines that set forwarding headers",
        ),
        section(
            "BACKEND_HSTS_OPTIONS",
            Support::ForIdioms {
                read: idioms::read_transport_security,
                recognises: idioms::is_transport_security,
                idioms: "the header with another value",
                instead: "the header has the usual value",
            },
            "the line that `USE_HSTS` adds",
        ),
        section(
            "BACKEND_STICKY_OPTIONS",
            Support::ForIdioms {
                read: idioms::read_cookie,
                recognises: idioms::is_cookie,
                idioms: "`cookie NAME insert`; `cookie NAME prefix`, which picks the task by a hash of \
                         the app's cookie",
                instead: "the cookie is the usual one",
            },
            "the cookie line that `STICKY` adds",
        ),
        section(
            "BACKEND_HTTP_HEALTHCHECK_OPTIONS",
            lines_of_checks(check_options::read_http_lines),
            "the lines of a health check over http",
        ),
        section(
            "BACKEND_TCP_HEALTHCHECK_OPTIONS",
            lines_of_checks(check_options::read_tcp_lines),
            "the lines of a health check over tcp",
        ),
        Label::of_port(
            "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
            ValueKind::ServerOptions,
            options_of_checks(check_options::read_http_options),
            "the options of a health check over http on `server` lines",
        ),
        Label::of_port(
            "BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS",
            ValueKind::ServerOptions,
            options_of_checks(check_options::read_tcp_options),
            "the options of a health check over tcp on `server` lines",
        ),
        section(
            "BACKEND_REDIRECT_HTTP_TO_HTTPS",
            REDIRECT,
            "the redirect to https of a whole host",
        ),
        section(
            "BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH",
            REDIRECT,
            "the redirect to https of a path",
        ),
        section(
            "HTTP_BACKEND_PROXYPASS_GLUE",
            Support::ForIdioms {
                read: idioms::read_path_cut,
                recognises: idioms::is_path_cut,
                idioms: "the usual lines, or without the one that sets `Host`",
                instead: "requests get the usual Host and path",
            },
            "the lines that `HTTP_BACKEND_PROXYPASS_PATH` adds",
        ),
        section(
            "HTTP_BACKEND_REVPROXY_GLUE",
            Support::ForIdioms {
                read: idioms::read_usual,
                recognises: idioms::is_usual_location,
                idioms: "marathon-lb's own text",
                instead: "Location headers of responses are rewritten as HTTP_BACKEND_REVPROXY_PATH asks",
            },
            "the lines that `HTTP_BACKEND_REVPROXY_PATH` adds",
        ),
        section(
            "USERLIST_HEAD",
            Support::Guard(guard_text::is_user_list),
            "the `userlist` section with the user of `AUTH`",
        ),
        section(
            "HTTP_BACKEND_NETWORK_ALLOWED_ACL",
            Support::Guard(guard_text::is_network_list),
            "the lines that `BACKEND_NETWORK_ALLOWED_ACL` adds in http mode",
        ),
        section(
            "TCP_BACKEND_NETWORK_ALLOWED_ACL",
            Support::Guard(guard_text::is_network_list),
            "the lines that `BACKEND_NETWORK_ALLOWED_ACL` adds in tcp mode",
        ),
        routing(
            "HTTP_FRONTEND_ACL",
            ROUTING,
            "the rule of one host on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ACL_WITH_PATH",
            ROUTING,
            "the rule of one host with a path on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ACL_WITH_AUTH",
            Support::Guard(guard_text::is_http_rule),
            "the rule of one host with a login on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH",
            Support::Guard(guard_text::is_http_rule_with_path),
            "the rule of one host with a login and a path on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ACL_ONLY",
            ROUTING,
            "the condition for each of several hosts on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ACL_ONLY_WITH_PATH",
            ROUTING,
            "the condition for the path of several hosts on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH",
            Support::Guard(guard_text::is_http_condition_with_path),
            "the condition for the path of several hosts with a login on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ROUTING_ONLY",
            ROUTING,
            "the `use_backend` line of several hosts on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH",
            ROUTING,
            "the `use_backend` line of several hosts with a path on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH",
            Support::Guard(guard_text::is_http_route),
            "the `use_backend` line of several hosts with a login on the http port",
        ),
        routing(
            "HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH",
            Support::Guard(guard_text::is_http_route_with_path),
            "the `use_backend` line of several hosts with a path and a login on the http port",
        ),
        routing(
            "HTTPS_FRONTEND_ACL",
            ROUTING,
            "the rule of a host on the https port",
        ),
        routing(
            "HTTPS_FRONTEND_ACL_WITH_PATH",
            ROUTING,
            "the rule of a host with a path on the https port",
        ),
        routing(
            "HTTPS_FRONTEND_ACL_ONLY_WITH_PATH",
            ROUTING,
            "the condition for the path on the https port",
        ),
        routing(
            "HTTPS_FRONTEND_ACL_WITH_AUTH",
            Support::Guard(guard_text::is_https_rule),
            "the rule of a host with a login on the https port",
        ),
        routing(
            "HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH",
            Support::Guard(guard_text::is_https_rule_with_path),
            "the rule of a host with a login and a path on the https port",
        ),
        section(
            "HTTP_FRONTEND_APPID_ACL",
            Support::ForIdioms {
                read: idioms::read_app_id_rule,
                recognises: idioms::is_app_id_rule,
                idioms: "marathon-lb's own text; empty, requests by `X-Marathon-App-Id` do not reach \
                         the port",
                instead: "the port is not reached by the id of the app",
            },
            "the rule of the app on the port that routes by `X-Marathon-App-Id`",
        ),
        section(
            "MAP_HTTP_FRONTEND_ACL",
            Support::Meaningless,
            "no meaning: marathon-lb reads it nowhere",
        ),
        section(
            "MAP_HTTP_FRONTEND_ACL_ONLY",
            Support::Meaningless,
            "no meaning: marathon-lb reads it nowhere",
        ),
        section(
            "MAP_HTTPS_FRONTEND_ACL",
            Support::Meaningless,
            "no meaning: marathon-lb reads it nowhere",
        ),
        section(
            "MAP_HTTP_FRONTEND_APPID_ACL",
            Support::Meaningless,
            "no meaning: marathon-lb reads it nowhere",
        ),
    ],
};

/// Reads the beginning of the service port's `frontend`, which is mostly written to have none.
fn read_head(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    follow_frontend(label, frontend_text::head(label.value), draft);
}

/// Reads the lines of the service port's `frontend` that say which app answers.
fn read_glue(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    follow_frontend(label, frontend_text::glue(label.value), draft);
}

fn follow_frontend(label: LabelText<'_>, meaning: FrontendText, draft: &mut ServiceDraft<'_>) {
    match meaning {
        FrontendText::Usual => {}
        FrontendText::Nothing => draft.listener.is_left_out = true,
        FrontendText::InPart => draft.note(
            label,
            Reason::UnsupportedLabel,
            "the service port is the usual one: HAProxy's text has no meaning here".into(),
            "remove it if that will do, or keep the app on marathon-lb",
        ),
        FrontendText::Restricted(how) => {
            draft.note(
                label,
                Reason::UnsupportedGuard,
                format!("it {how}, which is not supported yet, so the service port is not opened"),
                GUARD_REMEDY,
            );
            draft.listener.is_left_out = true;
        }
        FrontendText::Elsewhere => {
            draft.note(
                label,
                Reason::UnsupportedLabel,
                "the service port is not opened: the text does not listen on \
                 {bindAddr}:{servicePort}{sslCert}{bindOptions}, as marathon-lb's own does"
                    .into(),
                "remove it, and write addresses into BIND_ADDR and options into BIND_OPTIONS",
            );
            draft.listener.is_left_out = true;
        }
    }
}

fn is_server_line(template: &str) -> bool {
    server_line(template).is_some()
}
