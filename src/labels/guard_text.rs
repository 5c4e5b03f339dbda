//! marathon-lb's own texts of templates that restrict access. They say nothing beyond the labels for
//! logins and networks, which are served.

use super::haproxy_lines::lines;

const HOST: &str = "acl host_{cleanedUpHostname} hdr(host) -i {hostname}";
const LOGIN: &str = "acl auth_{cleanedUpHostname} http_auth(user_{backend})";
const PATH: &str = "acl path_{backend} path_beg {path}";
const ASK: &str =
    "http-request auth realm {realm} if host_{cleanedUpHostname} !auth_{cleanedUpHostname}";
const ASK_ON_PATH: &str = "http-request auth realm {realm} if host_{cleanedUpHostname} path_{backend} !auth_{cleanedUpHostname}";
const ASK_BY_TLS: &str =
    "http-request auth realm {realm} if { ssl_fc_sni {hostname} } !auth_{cleanedUpHostname}";
const ASK_BY_TLS_ON_PATH: &str = "http-request auth realm {realm} if { ssl_fc_sni {hostname} } path_{backend} !auth_{cleanedUpHostname}";
const USE: &str = "use_backend {backend} if host_{cleanedUpHostname}";
const USE_ON_PATH: &str = "use_backend {backend} if host_{cleanedUpHostname} path_{backend}";
const USE_BY_TLS: &str = "use_backend {backend} if { ssl_fc_sni {hostname} }";
const USE_BY_TLS_ON_PATH: &str =
    "use_backend {backend} if { ssl_fc_sni {hostname} } path_{backend}";

/// True for marathon-lb's own text of `HTTP_FRONTEND_ACL_WITH_AUTH`.
pub(super) fn is_http_rule(template: &str) -> bool {
    is(template, &[HOST, LOGIN, ASK, USE])
}

/// True for marathon-lb's own text of `HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH`.
pub(super) fn is_http_rule_with_path(template: &str) -> bool {
    is(template, &[HOST, LOGIN, PATH, ASK_ON_PATH, USE_ON_PATH])
}

/// True for marathon-lb's own text of `HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH`.
pub(super) fn is_http_condition_with_path(template: &str) -> bool {
    is(template, &[PATH, LOGIN])
}

/// True for marathon-lb's own text of `HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH`.
pub(super) fn is_http_route(template: &str) -> bool {
    is(template, &[LOGIN, ASK, USE])
}

/// True for marathon-lb's own text of `HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH`.
pub(super) fn is_http_route_with_path(template: &str) -> bool {
    is(template, &[ASK_ON_PATH, USE_ON_PATH])
}

/// True for marathon-lb's own text of `HTTPS_FRONTEND_ACL_WITH_AUTH`.
pub(super) fn is_https_rule(template: &str) -> bool {
    is(template, &[LOGIN, ASK_BY_TLS, USE_BY_TLS])
}

/// True for marathon-lb's own text of `HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH`.
pub(super) fn is_https_rule_with_path(template: &str) -> bool {
    is(template, &[LOGIN, ASK_BY_TLS_ON_PATH, USE_BY_TLS_ON_PATH])
}

/// True for marathon-lb's own text of `USERLIST_HEAD`.
pub(super) fn is_user_list(template: &str) -> bool {
    let user = "user {user} password {passwd}";
    is(template, &["userlist user_{backend}", user])
}

/// True for marathon-lb's own text of `HTTP_BACKEND_NETWORK_ALLOWED_ACL` and of
/// `TCP_BACKEND_NETWORK_ALLOWED_ACL`.
pub(super) fn is_network_list(template: &str) -> bool {
    is(template, &["acl network_allowed src {network_allowed}"])
}

/// True if the lines of a template have the words of these, one by one.
fn is(template: &str, usual: &[&str]) -> bool {
    lines(template).is_some_and(|lines| {
        let usual = usual.iter().map(|line| line.split(' '));
        lines.len() == usual.len() && lines.iter().zip(usual).all(|(line, usual)| usual.eq(line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITION: &str = "acl auth_{cleanedUpHostname} http_auth(user_{backend})\n";

    #[test]
    fn a_text_of_marathon_lb_is_known_for_its_own_label_alone() {
        let ask = "  http-request auth realm \"{realm}\" if ";
        let (host, sni) = ("host_{cleanedUpHostname}", "{{ ssl_fc_sni {hostname} }}");
        let (path, refused) = ("path_{backend}", "!auth_{cleanedUpHostname}\n");
        let use_backend = "  use_backend {backend} if";
        let acl_host = "  acl host_{cleanedUpHostname} hdr(host) -i {hostname}\n";
        let acl_path = "  acl path_{backend} path_beg {path}\n";
        let texts = [
            format!("{acl_host}{CONDITION}{ask}{host} {refused}{use_backend} {host}\n"),
            format!(
                "{acl_host}{CONDITION}{acl_path}{ask}{host} {path} {refused}{use_backend} {host} {path}"
            ),
            format!("{acl_path}{CONDITION}"),
            format!("{CONDITION}{ask}{host} {refused}{use_backend} {host}"),
            format!("{ask}{host} {path} {refused}{use_backend} {host} {path}"),
            format!("{CONDITION}{ask}{sni} {refused}{use_backend} {sni}"),
            format!("{CONDITION}{ask}{sni} {path} {refused}{use_backend} {sni} {path}"),
            "\nuserlist user_{backend}\n  user {user} password {passwd}\n".to_owned(),
            "  acl network_allowed src {network_allowed}\n".to_owned(),
        ];
        let known = [
            is_http_rule,
            is_http_rule_with_path,
            is_http_condition_with_path,
            is_http_route,
            is_http_route_with_path,
            is_https_rule,
            is_https_rule_with_path,
            is_user_list,
            is_network_list,
        ];
        for (place, text) in texts.iter().enumerate() {
            let found: Vec<usize> = (0..known.len()).filter(|at| known[*at](text)).collect();
            assert_eq!(found, [place], "{text}");
        }
        for is_known in known {
            assert!(!is_known(""));
            assert!(!is_known("acl network_allowed src 0.0.0.0/0"));
            assert!(!is_known(&format!("{}  http-request allow\n", texts[0])));
        }
    }
}
