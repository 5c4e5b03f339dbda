//! OpenBao's names of Vault's settings, which take precedence, as in OpenBao's own client.

use std::ffi::OsString;

use super::environment;

/// Returns the command with `BAO_ADDR` instead of `VAULT_ADDR` where that is set, and so on for
/// each `VAULT_` variable. An empty one counts as unset.
pub fn with_openbao_names(command: clap::Command) -> clap::Command {
    renamed(command, environment::value)
}

fn renamed(command: clap::Command, value: impl Fn(&str) -> Option<OsString>) -> clap::Command {
    let is_set = |name: &str| value(name).is_some_and(|value| !environment::is_blank(&value));
    command.mut_subcommands(|command| {
        command.mut_args(|argument| {
            let variable = argument.get_env().and_then(|variable| variable.to_str());
            let vaults = variable.and_then(|variable| variable.strip_prefix("VAULT_"));
            let openbaos = vaults.map(|rest| format!("BAO_{rest}"));
            match openbaos.filter(|name| is_set(name)) {
                Some(openbaos) => argument.env(openbaos),
                None => argument,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;
    use crate::settings::Typed;

    #[test]
    fn openbaos_names_replace_vaults_where_they_are_set() {
        let serve = Typed::augment_args(clap::Command::new("serve"));
        // Compose writes a variable that nobody set as an empty one.
        let set = [
            ("BAO_TOKEN", "t"),
            ("BAO_ADDR", ""),
            ("VAULT_ADDR", "http://v"),
        ];
        let value = |name: &str| {
            let mut set = set.iter();
            set.find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        let command = renamed(clap::Command::new("all").subcommand(serve), value);
        let serve = command.find_subcommand("serve").unwrap();
        let variable = |flag: &str| {
            let mut arguments = serve.get_arguments();
            let argument = arguments.find(|argument| argument.get_long() == Some(flag));
            argument.unwrap().get_env().unwrap().to_owned()
        };
        assert_eq!(variable("vault-token"), "BAO_TOKEN");
        assert_eq!(variable("vault-addr"), "VAULT_ADDR");
        assert_eq!(variable("marathon"), "MARATHON");
    }
}
