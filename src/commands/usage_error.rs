//! Errors of the command line in one line: setting, value, reason, remedy.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use strsim::osa_distance;

use crate::settings::successor_of_marathon_lb_flag;

/// Returns the error of a command line as one line: the variable and the flag of the setting, its
/// value, the reason, and the remedy.
pub(super) fn usage_error(command: &Command, error: &clap::Error) -> String {
    let reason = if error.kind() == ErrorKind::InvalidValue {
        allowed_values(error)
    } else if error.kind() == ErrorKind::ValueValidation {
        error.source().map(ToString::to_string)
    } else if error.kind() == ErrorKind::InvalidUtf8 {
        Some("it is not UTF-8; write it as UTF-8 text".to_owned())
    } else {
        None
    };
    let argument = text(error, ContextKind::InvalidArg);
    let argument = argument.and_then(|argument| find(command, argument));
    match (argument, reason) {
        (Some(argument), Some(reason)) => bad_value(argument, error, &reason),
        (Some(_) | None, _) => misuse(error),
    }
}

/// A value that its parser refuses; `reason` ends with the remedy.
fn bad_value(argument: &Arg, error: &clap::Error, reason: &str) -> String {
    let flag = argument.get_long().unwrap_or_default();
    let value = if argument.is_hide_env_values_set() {
        "(hidden)"
    } else {
        text(error, ContextKind::InvalidValue).unwrap_or_default()
    };
    match argument.get_env() {
        Some(variable) => {
            let variable = variable.to_string_lossy();
            format!("{variable}={value}: {reason} (flag --{flag})")
        }
        None => format!("--{flag}={value}: {reason}"),
    }
}

/// An error about the flags themselves, and where they are listed.
fn misuse(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let first = rendered.split("\n\n").next().unwrap_or(&rendered);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let meant = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    let typed = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let typed = typed.into_iter().find_map(|kind| text(error, kind));
    if let Some((typed, successor)) =
        typed.and_then(|typed| Some((typed, successor_of_marathon_lb_flag(flag_alone(typed))?)))
    {
        return format!("{typed} is an argument of marathon-lb; here: {successor}; see --help");
    }
    let meant = meant.into_iter().find_map(|kind| text(error, kind));
    // Some of clap's suggestions have little but a letter or two in common with what was typed.
    let meant =
        meant.filter(|meant| osa_distance(typed.unwrap_or_default(), meant) * 3 <= meant.len());
    let meant = meant.map_or_else(String::new, |meant| format!("write {meant}, or "));
    format!("{first}; {meant}see --help")
}

/// The flag of a typed argument, without a value that was written to it: `-mX`, `--group=X`.
fn flag_alone(typed: &str) -> &str {
    typed.split('=').next().unwrap_or(typed)
}

/// The values that a setting allows, if it has a list of them.
fn allowed_values(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(allowed)) = error.get(ContextKind::ValidValue) else {
        return None;
    };
    let allowed = allowed.join(", ");
    Some(format!("not one of its values; write one of: {allowed}"))
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    if let Some(ContextValue::String(text)) = error.get(kind) {
        return Some(text);
    }
    let Some(ContextValue::Strings(texts)) = error.get(kind) else {
        return None;
    };
    texts.first().map(String::as_str)
}

/// Finds an argument of any command by its rendered form: `--admin-listen <ADDRESS>`.
fn find<'a>(command: &'a Command, rendered: &str) -> Option<&'a Arg> {
    let flag = rendered.strip_prefix("--")?;
    let flag = flag.split([' ', '=', '[']).next()?;
    let mut arguments = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .filter(|argument| argument.get_long() == Some(flag));
    arguments.next()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::commands::Cli;

    fn told(line: &str) -> String {
        let mut command = crate::commands::cli::command_line();
        let error = command
            .try_get_matches_from_mut(line.split(' '))
            .unwrap_err();
        usage_error(&command, &error)
    }

    #[test]
    fn a_bad_value_is_told_with_variable_flag_value_and_remedy() {
        for (line, expected) in [
            (
                "marathon-envoy serve --resync-interval=5m",
                "RESYNC_INTERVAL=5m: not a number of seconds from 1 to 86400; write a decimal number \
                 without a unit, as 300 or 0.5 (flag --resync-interval)",
            ),
            (
                "marathon-envoy serve --resync-interval -1",
                "RESYNC_INTERVAL=-1: not a number of seconds from 1 to 86400; write a decimal number \
                 without a unit, as 300 or 0.5 (flag --resync-interval)",
            ),
            (
                "marathon-envoy serve --log-format=xml",
                "LOG_FORMAT=xml: not one of its values; write one of: text, json (flag --log-format)",
            ),
            (
                "marathon-envoy serve --strict-mode=maybe",
                "STRICT_MODE=maybe: not a switch; write true or false (flag --strict-mode)",
            ),
            (
                "marathon-envoy serve --admin-listen=localhost",
                "ADMIN_LISTEN=localhost: not an address and a port; write ip:port, as \
                 127.0.0.1:5001 (flag --admin-listen)",
            ),
            (
                "marathon-envoy serve --xds-max-connections=0",
                "XDS_MAX_CONNECTIONS=0: not a whole number from 1 to 4294967295; write one without \
                 a unit or separators (flag --xds-max-connections)",
            ),
            (
                "marathon-envoy serve --stale-after=0.5",
                "STALE_AFTER=0.5: not a number of seconds from 1 to 86400; write a decimal number \
                 without a unit, as 300 or 0.5 (flag --stale-after)",
            ),
            (
                "marathon-envoy serve --vault-pki-renew-at=1",
                "VAULT_PKI_RENEW_AT=1: not a share from 0.1 to 0.9; write a decimal number, as 0.667 \
                 (flag --vault-pki-renew-at)",
            ),
            (
                "marathon-envoy serve --http-listen-port=0",
                "HTTP_LISTEN_PORT=0: not a whole number from 1 to 65535; write one without a unit \
                 or separators (flag --http-listen-port)",
            ),
            (
                "marathon-envoy bootstrap --envoy-admin=9901",
                "--envoy-admin=9901: not an address and a port; write ip:port, as 127.0.0.1:5001",
            ),
            (
                "marathon-envoy bootstrap --control-plane=xds",
                "--control-plane=xds: no port; write host:port, as xds.example.com:5000 or \
                 [2001:db8::7]:5000",
            ),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn every_typed_value_that_is_refused_names_its_setting_and_a_remedy() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let mut refused = 0;
        for argument in serve.get_arguments() {
            let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else {
                continue;
            };
            let line = [
                "marathon-envoy".to_owned(),
                "serve".to_owned(),
                format!("--{flag}=\u{1}"),
            ];
            let mut command = Cli::command();
            let Err(error) = command.try_get_matches_from_mut(line) else {
                continue;
            };
            refused += 1;
            let told = usage_error(&command, &error);
            let begin = format!("{}=\u{1}: ", variable.to_str().unwrap());
            assert!(told.starts_with(&begin), "{told}");
            assert!(told.contains("; write "), "{told}");
            assert!(told.ends_with(&format!(" (flag --{flag})")), "{told}");
        }
        assert!(
            refused > 40,
            "{refused} settings have a parser that can fail"
        );
    }

    #[test]
    fn a_wrong_flag_is_told_with_the_one_that_is_meant() {
        assert_eq!(
            told("marathon-envoy serve --strict-mod"),
            "unexpected argument '--strict-mod' found; write --strict-mode, or see --help"
        );
        assert_eq!(
            told("marathon-envoy --group external"),
            "--group is an argument of marathon-lb; here: --haproxy-group, a comma list; * as \
             before; see --help"
        );
        assert_eq!(
            told("marathon-envoy status --nothing-like-it"),
            "unexpected argument '--nothing-like-it' found; see --help"
        );
        assert_eq!(
            told("marathon-envoy serve --nonsense"),
            "unexpected argument '--nonsense' found; see --help"
        );
    }
}
