//! Environment variables: empty ones count as unset, and names that no setting has are reported.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::{Arg, Command};
use strsim::osa_distance;

use super::marathon_lb;

/// Variables that mean something else when they are empty than when they are unset.
const MEANINGFUL_EMPTY: [&str; 2] = ["MARATHON_ACME_APP_ID", "MARATHON_ACME_KV_PATH"];

/// Beginnings of names that nobody else gives to variables.
const PREFIXES: [&str; 9] = [
    "HAPROXY_",
    "HTTPS_LISTEN_",
    "HTTP_LISTEN_",
    "LABEL_PREFIX_",
    "MARATHON_",
    "SUDDEN_LOSS_",
    "VAULT_KV_",
    "VAULT_PKI_",
    "XDS_",
];

/// Beginnings of names that Marathon gives to each of its tasks, and that scripts around this
/// program give.
const LEFT_ALONE: [&str; 2] = ["MARATHON_APP_", "MARATHON_ENVOY_"];

/// Shortest name that counts as a misspelt one without a prefix of ours.
const SHORTEST_MISSPELT: usize = 7;

/// Returns the command with variables that are set to nothing treated as unset, as orchestrators
/// write them (`${X:-}`), but for those to which that means something.
pub fn without_empty_variables(command: Command) -> Command {
    without_empty(command, value)
}

/// Returns a warning for each variable of the environment that looks like a setting and is none.
pub fn unknown_variables(command: &Command) -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !is_blank(value));
    let names = set.filter_map(|(name, _)| name.into_string().ok());
    unknown(command, names)
}

/// The value of a variable.
pub(super) fn value(name: &str) -> Option<OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "whether a setting is set, before it is read"
    )]
    std::env::var_os(name)
}

/// Returns true for a value of white space alone.
pub(super) fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.trim().is_empty())
}

fn without_empty(command: Command, value: impl Fn(&str) -> Option<OsString>) -> Command {
    let is_empty = |argument: &Arg| {
        let variable = argument.get_env().and_then(OsStr::to_str);
        let variable = variable.filter(|name| !MEANINGFUL_EMPTY.contains(name));
        let set_to = variable.and_then(&value);
        set_to.is_some_and(|set_to| is_blank(&set_to))
    };
    command.mut_subcommands(|command| {
        command.mut_args(|argument| {
            if is_empty(&argument) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        })
    })
}

fn unknown(command: &Command, names: impl Iterator<Item = String>) -> Vec<String> {
    let arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let variables = arguments.filter_map(|argument| argument.get_env().and_then(OsStr::to_str));
    let known: BTreeSet<&str> = variables.collect();
    let names: BTreeSet<String> = names.collect();
    let warnings = names.iter().filter_map(|name| warning(name, &known));
    warnings.collect()
}

/// The warning about a variable, if it looks like a setting and is none.
fn warning(name: &str, known: &BTreeSet<&str>) -> Option<String> {
    // OpenBao's name of one of Vault's variables is known too.
    let vaults = name
        .strip_prefix("BAO_")
        .map(|rest| format!("VAULT_{rest}"));
    if known.contains(vaults.as_deref().unwrap_or(name))
        || LEFT_ALONE.iter().any(|prefix| name.starts_with(prefix))
    {
        return None;
    }
    if let Some(successor) = marathon_lb::of_variable(name) {
        return Some(format!(
            "{name} is a variable of marathon-lb; here: {successor}"
        ));
    }
    let near = known.iter().map(|known| (osa_distance(name, known), known));
    let (distance, nearest) = near.min()?;
    let is_ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    // A slip or two, or a third of a name that begins like ours.
    let is_near = distance <= if is_ours { name.len() / 3 } else { 1 };
    match (is_near, is_ours) {
        (true, true) => Some(format!(
            "{name} is set, and no setting has this name; {nearest} has"
        )),
        (true, false) if name.len() >= SHORTEST_MISSPELT => Some(format!(
            "{name} is set, and no setting has this name; {nearest} has"
        )),
        (false, true) => Some(format!(
            "{name} is set, and no setting has this name; marathon-envoy serve --help lists them"
        )),
        (_, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;
    use crate::settings::Typed;

    fn command() -> Command {
        let serve = Typed::augment_args(Command::new("serve"));
        Command::new("all").subcommand(serve)
    }

    /// The variable that each flag reads, with all variables set to the same.
    fn read(set_to: &str) -> Vec<(String, Option<String>)> {
        let command = without_empty(command(), |_| Some(set_to.into()));
        let serve = command.find_subcommand("serve").unwrap();
        let flags = serve.get_arguments().filter_map(|argument| {
            let variable = argument
                .get_env()
                .map(|name| name.to_str().unwrap().to_owned());
            Some((argument.get_long()?.to_owned(), variable))
        });
        flags.collect()
    }

    #[test]
    fn a_variable_set_to_nothing_is_unset() {
        for nothing in ["", " ", "\t\n"] {
            for (flag, variable) in read(nothing) {
                let meaningful = ["marathon-acme-app-id", "marathon-acme-kv-path"];
                let is_read = meaningful.contains(&flag.as_str());
                assert_eq!(variable.is_some(), is_read, "{flag} set to {nothing:?}");
            }
        }
        assert!(read("0").iter().all(|(_, variable)| variable.is_some()));
    }

    #[test]
    fn settings_to_which_emptiness_means_something_say_so() {
        let command = command();
        let serve = command.find_subcommand("serve").unwrap();
        for argument in serve.get_arguments() {
            let Some(variable) = argument.get_env().and_then(OsStr::to_str) else {
                continue;
            };
            let help = argument.get_help().unwrap().to_string().to_lowercase();
            let says_so = help.contains("empty");
            assert_eq!(says_so, MEANINGFUL_EMPTY.contains(&variable), "{variable}");
        }
    }

    fn warnings(names: &[&str]) -> Vec<String> {
        unknown(&command(), names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_variable_that_no_setting_has_is_reported_with_the_nearest_name() {
        for (name, nearest) in [
            ("XDS_LISTENER", "XDS_LISTEN"),
            ("XDS_MAX_CONECTIONS", "XDS_MAX_CONNECTIONS"),
            ("HAPROXY_GROUPS", "HAPROXY_GROUP"),
            ("CERTIFICATE_DIR", "CERTIFICATES_DIR"),
            ("RESYNC_INTERVALL", "RESYNC_INTERVAL"),
            ("MARATHONS", "MARATHON"),
            ("VAULT_TOKENFILE", "VAULT_TOKEN_FILE"),
        ] {
            let expected = format!("{name} is set, and no setting has this name; {nearest} has");
            assert_eq!(warnings(&[name, name]), [expected]);
        }
        assert_eq!(
            warnings(&["XDS_FOO"]),
            [
                "XDS_FOO is set, and no setting has this name; marathon-envoy serve --help lists \
                 them"
            ]
        );
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let others = [
            "PATH",
            "HOME",
            "HOST",
            "PORT0",
            "PORTS",
            "LOG_LEVEL",
            "HTTP_PROXY",
            "XDG_CONFIG_HOME",
            "VAULT_FORMAT",
            "VAULT_MAX_RETRIES",
            "BAO_ADDR",
            "BAO_TOKEN",
            "MARATHON_APP_ID",
            "MARATHON_ENVOY_IMAGE",
            "MARATHON_APP_LABEL_HAPROXY_GROUP",
            "MESOS_TASK_ID",
            "MARATHON",
            "XDS_LISTEN",
        ];
        assert_eq!(warnings(&others), Vec::<String>::new());
    }

    #[test]
    fn a_variable_of_marathon_lb_is_reported_with_what_replaces_it() {
        assert_eq!(
            warnings(&["MARATHON_USER", "HAPROXY_SSL_CERT17"]),
            [
                "HAPROXY_SSL_CERT17 is a variable of marathon-lb; here: CERTIFICATES_DIR, one file \
                 each",
                "MARATHON_USER is a variable of marathon-lb; here: MARATHON_CREDENTIALS_FILE",
            ]
        );
    }
}
