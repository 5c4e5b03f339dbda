//! The table of settings in `docs/settings.md`, made from the flags.

use std::fmt::Write as _;

/// Returns every setting as a row of a Markdown table: variable, flag, default, meaning.
pub fn table(serve: &clap::Command) -> String {
    let mut table = "| variable | flag | default | meaning |\n|---|---|---|---|\n".to_owned();
    for argument in serve.get_arguments() {
        let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) else {
            continue;
        };
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let help = argument.get_help().map(ToString::to_string);
        let mut help = help.unwrap_or_default();
        let values = argument.get_possible_values();
        if !values.is_empty()
            && !argument
                .get_value_names()
                .is_some_and(|names| names.iter().any(|name| name == "BOOL"))
        {
            let names: Vec<_> = values
                .iter()
                .map(clap::builder::PossibleValue::get_name)
                .collect();
            help = format!("{help}: {}", names.join(", "));
        }
        let help = help.replace('|', "\\|");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let variable = variable.to_string_lossy();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{variable}` | `--{flag}` | {} | {help} |",
            defaults.join(", ")
        );
    }
    table
}
