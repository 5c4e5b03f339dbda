//! Names in the manual: metrics, flags and environment variables.

use std::collections::{BTreeMap, BTreeSet};

use marathon_envoy::settings::marathon_lb_table;

use super::page::{Code, Page};

/// Flags of other programs that the manual names by themselves, with the program.
const FOREIGN_FLAGS: [(&str, &str); 6] = [
    ("--allow-multiple-certs", "marathon-acme's"),
    ("--enable_features", "Marathon's"),
    ("--group", "marathon-acme's"),
    ("--hostname", "the Mesos agent's"),
    ("--lb", "marathon-acme's"),
    ("--service-node", "Envoy's"),
];

/// The page that names what marathon-lb has.
const MIGRATION: &str = "docs/migrate.md";

/// Words in capitals that are no settings of the daemon, with what they are.
const FOREIGN_WORDS: [(&str, &str); 18] = [
    ("APP_CONFIG", "a setting of the proof of concept, ignored"),
    ("BAO_BIN", "tests: a real OpenBao"),
    ("COMPOSE_BIN", "tests: Docker Compose"),
    ("ENVOY_VERSION", "demo and tests: the Envoy to fetch"),
    ("HAPROXY_AUTH", "a label without its index, as an example"),
    ("HAPROXY_VHOST", "a label without its index, as an example"),
    ("LONG", "tests: full length"),
    (
        "MARATHON_ENVOY_REVISION",
        "builds: the revision outside git",
    ),
    ("NETWORK_ALLOWED_ACL", "a part of names of labels"),
    ("NOT_SENT", "a state of a proxy"),
    ("NOT_SERVING", "a status of grpc.health.v1"),
    ("PERMISSION_DENIED", "a status of gRPC"),
    ("PROPTEST_CASES", "proptest's"),
    ("PROPTEST_RNG_SEED", "proptest's"),
    ("RST_STREAM", "a frame of HTTP/2"),
    ("SECRET_KEY", "a setting of the proof of concept, ignored"),
    ("UPDATE", "tests: rewrite what is expected"),
    ("VAULT_BIN", "tests: a real Vault"),
];

/// The metrics that a text names.
pub(super) fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
    words(text)
        .map(|(_, word)| word)
        .filter(|word| word.starts_with("marathon_envoy_"))
}

/// The words of a text (letters, digits, underscores), each with the offset of its end.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text.get(rest..)?.find(is_of_word)?;
        let length = text[start..].find(|c| !is_of_word(c));
        let end = length.map_or(text.len(), |length| start + length);
        rest = end;
        Some((end, &text[start..end]))
    })
}

/// The flags of the binary, by command.
pub(super) struct Flags {
    by_command: BTreeMap<String, BTreeSet<String>>,
    of_marathon_lb: BTreeSet<String>,
    used: BTreeSet<&'static str>,
    /// How many were compared.
    pub(super) checked: usize,
}

impl Flags {
    pub(super) fn new(cli: &clap::Command) -> Self {
        let flags = |command: &clap::Command| {
            let longs = command.get_arguments().filter_map(|flag| flag.get_long());
            let longs = longs.chain(["help", "version"]);
            longs.map(|long| format!("--{long}")).collect()
        };
        let commands = cli.get_subcommands();
        Self {
            by_command: commands
                .map(|command| (command.get_name().to_owned(), flags(command)))
                .collect(),
            of_marathon_lb: flags_in(&marathon_lb_table()).map(str::to_owned).collect(),
            used: BTreeSet::new(),
            checked: 0,
        }
    }

    /// Adds a fault for every flag on the page that does not exist.
    pub(super) fn check(&mut self, page: &Page, faults: &mut Vec<String>) {
        for code in page.code() {
            let (text, is_line) = match &code {
                Code::Span(text) => (text.trim(), false),
                Code::Line(text) => (text.trim(), true),
            };
            if let Some((command, arguments)) = self.own_command(text, is_line) {
                for flag in flags_in(arguments) {
                    self.checked += 1;
                    if !self.by_command[&command].contains(flag) {
                        let path = &page.path;
                        faults.push(format!("{path}: {command} has no flag {flag}: {text}"));
                    }
                }
            } else if !is_line && text.starts_with("--") {
                let flag = flags_in(text).next().unwrap_or(text);
                self.checked += 1;
                if !self.is_known(flag, &page.path) {
                    faults.push(format!("{}: nothing has the flag {flag}", page.path));
                }
            }
        }
    }

    /// The command of ours that a text runs, and its arguments; none for other programs.
    fn own_command<'a>(&self, text: &'a str, is_line: bool) -> Option<(String, &'a str)> {
        let first = text.split_whitespace().next()?;
        let arguments = match text.strip_prefix("cargo run ") {
            Some(rest) => rest.split_once("-- ")?.1,
            None if first.starts_with("tls=") && is_line => {
                return Some(("bootstrap".to_owned(), text));
            }
            // A name of a command by itself counts in prose alone.
            None if self.by_command.contains_key(first) && !is_line => text,
            None => {
                let is_program =
                    |word: &&str| *word == "marathon-envoy" || word.ends_with("/marathon-envoy");
                let word = text.split(' ').find(is_program)?;
                text.split_once(word)?.1
            }
        };
        let mut words = arguments.split_whitespace();
        let command = words.find(|word| self.by_command.contains_key(*word));
        Some((command.unwrap_or("serve").to_owned(), arguments))
    }

    fn is_known(&mut self, flag: &str, path: &str) -> bool {
        if self.by_command.values().any(|flags| flags.contains(flag)) {
            return true;
        }
        if path == MIGRATION && self.of_marathon_lb.contains(flag) {
            return true;
        }
        let known = FOREIGN_FLAGS.iter().find(|(name, _)| *name == flag);
        self.used.extend(known.map(|(name, _)| *name));
        known.is_some()
    }

    /// A fault for every exception that no page needs any more.
    pub(super) fn unused(&self) -> impl Iterator<Item = String> {
        let names = FOREIGN_FLAGS.iter().map(|(name, _)| *name);
        let unused = names.filter(|name| !self.used.contains(name));
        unused.map(|name| format!("no page names {name} any more: take it out of this test"))
    }
}

/// The flags in a text, without their values.
fn flags_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .filter(|word| {
            let name = word.strip_prefix("--");
            name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
}

/// The environment variables of the binary, and the labels of marathon-lb.
pub(super) struct Variables {
    ours: BTreeSet<String>,
    labels: BTreeSet<String>,
    of_marathon_lb: BTreeSet<String>,
    used: BTreeSet<&'static str>,
}

impl Variables {
    /// Variables of these commands; labels by their names.
    pub(super) fn new(cli: &clap::Command, labels: impl Iterator<Item = &'static str>) -> Self {
        let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
        let variables = arguments.filter_map(|argument| argument.get_env());
        let mut ours: BTreeSet<String> = variables
            .map(|name| name.to_str().unwrap().to_owned())
            .collect();
        let openbao = ours.iter().filter_map(|name| name.strip_prefix("VAULT_"));
        let openbao: Vec<_> = openbao.map(|name| format!("BAO_{name}")).collect();
        ours.extend(openbao);
        Self {
            ours,
            labels: labels.map(str::to_owned).collect(),
            of_marathon_lb: words(&marathon_lb_table())
                .map(|(_, word)| word.to_owned())
                .collect(),
            used: BTreeSet::new(),
        }
    }

    /// Adds a fault for every variable on the page that does not exist: a word in capitals with an
    /// underscore in it, or before an equals sign.
    pub(super) fn check(&mut self, page: &Page, faults: &mut Vec<String>) {
        for code in page.code() {
            let (Code::Span(text) | Code::Line(text)) = code;
            for (end, word) in words(&text) {
                let next = text[end..].chars().next();
                let in_capitals = word
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
                let begins_well =
                    word.len() > 1 && word.starts_with(|c: char| c.is_ascii_uppercase());
                let is_variable = word.contains('_') || next == Some('=');
                // A part of a pattern, as of `HAPROXY_{n}_VHOST` and of families of names.
                let is_part = word.ends_with('_');
                if in_capitals && begins_well && is_variable && !is_part && !self.is_known(word) {
                    faults.push(format!("{}: nothing is called {word}", page.path));
                }
            }
        }
    }

    fn is_known(&mut self, word: &str) -> bool {
        let foreign = FOREIGN_WORDS.iter().find(|(name, _)| *name == word);
        self.used.extend(foreign.map(|(name, _)| *name));
        foreign.is_some()
            || self.ours.contains(word)
            || self.labels.contains(word)
            || self.of_marathon_lb.contains(word)
            || self.is_label(word)
    }

    /// Whether this is a label as it stands in a definition, misspelt ones of examples excepted.
    fn is_label(&self, word: &str) -> bool {
        let misspelt = ["HAPROXY_0_VHSOT", "HAPROXY_0_AUHT"];
        let name = |rest: &str| {
            let name = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            name.trim_start_matches('_').to_owned()
        };
        misspelt.contains(&word)
            || word == "MARATHON_ACME_0_DOMAIN"
            || word == "REDIRECT_TO_HTTPS"
            || word
                .strip_prefix("HAPROXY_")
                .is_some_and(|rest| self.labels.contains(&name(rest)))
    }

    /// A fault for every exception that no page needs any more.
    pub(super) fn unused(&self) -> impl Iterator<Item = String> {
        let names = FOREIGN_WORDS.iter().map(|(name, _)| *name);
        let unused = names.filter(|name| !self.used.contains(name));
        unused.map(|name| format!("no page names {name} any more: take it out of this test"))
    }
}
