//! Flags and variables of marathon-lb 1.15.0, and what replaces each: for errors, warnings and the
//! manual.

use std::fmt::Write as _;

/// A setting of marathon-lb under all its names, and what replaces it, as Markdown.
struct Setting {
    names: &'static [&'static str],
    successor: &'static str,
}

const fn setting(names: &'static [&'static str], successor: &'static str) -> Setting {
    Setting { names, successor }
}

/// The flags. Those that exist here too need no error, but stand in the manual.
const FLAGS: &[Setting] = &[
    setting(
        &["sse", "poll"],
        "not needed: it always follows the event stream",
    ),
    setting(
        &["--marathon", "-m"],
        "`--marathon`, a comma list of the instances of one cluster",
    ),
    setting(
        &["--group"],
        "`--haproxy-group`, a comma list; `*` as before",
    ),
    setting(
        &["--auth-credentials", "--marathon-auth-credential-file"],
        "`--marathon-credentials-file`: one line `user:password`",
    ),
    setting(
        &["--dcos-auth-credentials"],
        "`--marathon-service-account-file`",
    ),
    setting(
        &["--marathon-ca-cert"],
        "`--marathon-cacert`; without it the system's CAs count, and TLS is always verified",
    ),
    setting(
        &["--health-check", "-H"],
        "on by default; off with `--use-marathon-health false`",
    ),
    setting(&["--strict-mode"], "`--strict-mode`"),
    setting(
        &["--ssl-certs"],
        "`--certificates-dir`, and `--default-certificate` for clients without SNI",
    ),
    setting(
        &["--lru-cache-capacity"],
        "not needed: no health result and no address of a living task is evicted",
    ),
    setting(
        &["--haproxy-map"],
        "not needed: hosts are looked up, ports ignored, as with maps",
    ),
    setting(
        &["--group-https-by-vhost"],
        "not needed: certificates are chosen by SNI",
    ),
    setting(
        &["--dont-bind-http-https"],
        "not needed: give the http and https listeners an address that clients do not reach, as in \
         `--http-listen-addr 127.0.0.1`",
    ),
    setting(
        &["--min-serv-port-ip-per-task", "--max-serv-port-ip-per-task"],
        "the same flags; without them such apps get no service ports",
    ),
    setting(
        &["--haproxy-config", "--archive-versions"],
        "not needed: there is no configuration file; `/snapshot` shows what is served",
    ),
    setting(
        &["--dry", "-d"],
        "not needed: start it without an Envoy and read `/snapshot`",
    ),
    setting(
        &[
            "--command",
            "-c",
            "--max-reload-retries",
            "--reload-interval",
        ],
        "not needed: nothing is reloaded",
    ),
    setting(
        &["--skip-validation", "--skip-config-cleanup"],
        "not needed: what makes no sense is left out by itself and reported",
    ),
    setting(
        &["--max-backoff"],
        "not needed: reconnects wait 10 s at most",
    ),
    setting(
        &["--syslog-socket"],
        "not needed: the log goes to the standard error stream",
    ),
    setting(&["--log-format"], "`--log-format` (text, json)"),
    setting(&["--log-level"], "`--log`"),
    setting(
        &["--longhelp"],
        "`marathon-envoy serve --help`, and this manual",
    ),
];

/// The variables. A final `*` stands for the rest of a name.
const VARIABLES: &[Setting] = &[
    setting(&["FRAMEWORK_NAME"], "`FRAMEWORK_NAME`"),
    setting(
        &["MARATHON_USER", "MARATHON_PASSWORD"],
        "`MARATHON_CREDENTIALS_FILE`",
    ),
    setting(
        &["DCOS_SERVICE_ACCOUNT_CREDENTIAL"],
        "`MARATHON_SERVICE_ACCOUNT_FILE` with the same content",
    ),
    setting(
        &["VAULT_HOST", "VAULT_PORT", "VAULT_PATH"],
        "not needed: they were for Marathon's login. `VAULT_ADDR` is where \
         [certificates](certificates.md#from-vault) come from",
    ),
    setting(&["PORTS", "POLL_INTERVAL"], "not needed"),
    setting(&["HAPROXY_SSL_CERT*"], "`CERTIFICATES_DIR`, one file each"),
    setting(
        &[
            "HAPROXY_GLOBAL_DEFAULT_OPTIONS",
            "HAPROXY_SYSCTL_PARAMS",
            "HAPROXY_SYSCTL_NONSTRICT",
            "HAPROXY_SYSLOGD",
            "SYSLOG_SOCKET",
        ],
        "not needed: they configure HAProxy or its container",
    ),
    setting(
        &[
            "HAPROXY_HEAD",
            "HAPROXY_*_HEAD",
            "HAPROXY_*_OPTIONS",
            "HAPROXY_*_GLUE",
            "HAPROXY_*_ACL",
        ],
        "none: templates for all apps are text of HAProxy's configuration",
    ),
];

/// Names that Mesos, or anybody, gives to variables too: they stand in the manual alone.
const COMMON: [&str; 3] = ["PORTS", "POLL_INTERVAL", "FRAMEWORK_NAME"];

/// Returns what replaces a flag of marathon-lb, or its first argument, as plain text.
pub(crate) fn of_flag(name: &str) -> Option<String> {
    successor(FLAGS, name)
}

/// Returns what replaces a variable of marathon-lb, as plain text.
pub(super) fn of_variable(name: &str) -> Option<String> {
    if COMMON.contains(&name) {
        return None;
    }
    successor(VARIABLES, name)
}

/// Returns both tables, for the manual.
pub fn marathon_lb_table() -> String {
    let mut table = String::new();
    for (kind, settings) in [("flag", FLAGS), ("variable", VARIABLES)] {
        if !table.is_empty() {
            table.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {kind} of marathon-lb | replaced by |\n|---|---|");
        for setting in settings {
            let names: Vec<_> = setting
                .names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let _ = writeln!(table, "| {} | {} |", names.join(", "), setting.successor);
        }
    }
    table
}

fn successor(settings: &[Setting], name: &str) -> Option<String> {
    let has = |setting: &&Setting| setting.names.iter().any(|pattern| matches(pattern, name));
    settings
        .iter()
        .find(has)
        .map(|setting| plain(setting.successor))
}

/// Returns true if the pattern is the name, or becomes it when text is put for its `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((begin, end)) => {
            name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        }
        None => pattern == name,
    }
}

/// Markdown without code spans and targets of links.
fn plain(markdown: &str) -> String {
    let mut rest = markdown;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.replace(['`', '['], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_marathon_lb_has_a_successor_or_is_not_needed() {
        for (flag, expected) in [
            ("--group", "--haproxy-group, a comma list; * as before"),
            ("-H", "on by default; off with --use-marathon-health false"),
            ("sse", "not needed: it always follows the event stream"),
        ] {
            assert_eq!(of_flag(flag).unwrap(), expected);
        }
        assert_eq!(of_flag("--nonsense"), None);
    }

    #[test]
    fn a_variable_of_marathon_lb_is_found_by_its_pattern() {
        let link = "not needed: they were for Marathon's login. VAULT_ADDR is where certificates \
                    come from";
        assert_eq!(of_variable("VAULT_HOST").unwrap(), link);
        assert!(of_variable("HAPROXY_SSL_CERT").is_some());
        assert!(of_variable("HAPROXY_SSL_CERT100").is_some());
        assert!(of_variable("HAPROXY_BACKEND_HEAD").is_some());
        assert_eq!(of_variable("HAPROXY_GROUP"), None);
        assert_eq!(of_variable("PORTS"), None);
    }
}
