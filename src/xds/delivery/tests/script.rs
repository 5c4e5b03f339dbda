//! Stories about one client, written as lines and played over every form.

use super::Setting;
use super::edge::{Edge, Seen};
use crate::snapshot::{Kind, Name};
use crate::xds::delivery::{AckNack, ProtocolVariant};
use tokio::time::Instant;

/// Plays a story over every form. Its lines:
///
/// - `publish clusters a=1 -b; routes http=1>a`: changes the snapshot
/// - `ask clusters *`, `ask endpoints a b`: says what is asked for, `-` for nothing
/// - `see clusters a=1 -b !c=bad | endpoints a=1`, `see nothing`: takes everything that is due;
///   `!` is what the client refuses, `-` what is gone
/// - `ack`, `ack clusters`, `ack clusters once`, `nack clusters`: speaks about the answers that it
///   took, all of a kind or the oldest; over REST by polling again
/// - `pretend secrets`: accepts what it refuses
/// - `pass 3000`: milliseconds
/// - `wait 3000`, `wait`: after how long time alone changes something
/// - `refused clusters a`, `refused nothing`: what is set aside
/// - `reconnect`: a new stream, with what it has; over REST a process that forgot it
/// - `reboot`: a client that begins with nothing; over REST the process remembers it
/// - `restart`: as `reconnect`, to another process, which has published nothing yet
/// - `lose routes`: over REST, the answer did not arrive
/// - `anew endpoints a`: over REST, asks without a version
/// - `stale clusters`: over state-of-the-world, accepts the newest answer with an old error
/// - `expired 1`: how many waits were given up so far
///
/// A line that begins with `rest:`, `sotw:`, `delta:` or `grpc:` is for these alone.
pub(super) fn play(story: &str, script: &str) {
    for protocol in [
        ProtocolVariant::Sotw,
        ProtocolVariant::Delta,
        ProtocolVariant::Rest,
    ] {
        let mut stage = Stage::new(protocol);
        for (number, line) in script.lines().enumerate() {
            let line = line.trim();
            let line = match line.split_once(':') {
                Some((forms, rest)) if is_for(forms, protocol) => rest.trim(),
                Some(_) => continue,
                None => line,
            };
            if !line.is_empty() && !line.starts_with('#') {
                stage.place = format!("{story}, {protocol:?}, line {}: {line}", number + 1);
                // Of what panics inside.
                eprintln!("{}", stage.place);
                stage.step(line);
            }
        }
    }
}

fn is_for(forms: &str, protocol: ProtocolVariant) -> bool {
    match (forms, protocol) {
        ("rest", ProtocolVariant::Rest)
        | ("sotw", ProtocolVariant::Sotw)
        | ("delta", ProtocolVariant::Delta) => true,
        ("grpc", ProtocolVariant::Sotw | ProtocolVariant::Delta) => true,
        ("whole", ProtocolVariant::Sotw | ProtocolVariant::Rest) => true,
        ("rest" | "sotw" | "delta" | "grpc" | "whole", _) => false,
        _ => panic!("no protocol: {forms}"),
    }
}

struct Stage {
    setting: Setting,
    edge: Edge,
    place: String,
}

impl Stage {
    fn new(protocol: ProtocolVariant) -> Self {
        let setting = Setting::new(Instant::now());
        Self {
            edge: Edge::new(protocol, &setting),
            setting,
            place: String::new(),
        }
    }

    fn step(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "publish" => self.publish(rest),
            "ask" => self.ask(rest),
            "see" => self.see(rest),
            "ack" => self.reply(rest, true),
            "nack" => self.reply(rest, false),
            "pass" => self.setting.pass(rest.parse().unwrap()),
            "wait" => self.wait(rest),
            "refused" => self.refused(rest),
            "reconnect" => self.edge.reconnect(&self.setting),
            "reboot" => self.edge.reboot(&self.setting),
            "restart" => {
                self.setting = Setting::new(self.setting.now);
                self.edge.reconnect(&self.setting);
            }
            "pretend" => {
                self.edge.pretend(kind(rest));
                self.reply(rest, true);
            }
            "lose" => {
                let heard = self.edge.lose(kind(rest), &self.setting);
                assert!(heard.is_some(), "{}: no answer", self.place);
            }
            "anew" => {
                let (of, name) = rest.split_once(' ').unwrap();
                self.edge.ask_anew(kind(of), &name.into(), &self.setting);
            }
            "stale" => {
                let heard = self.edge.accept_with_stale_error(kind(rest), &self.setting);
                let is_accepted = matches!(heard, AckNack::Ack { .. });
                assert!(is_accepted, "{}: {heard:?}", self.place);
            }
            "expired" => {
                let count: usize = rest.parse().unwrap();
                assert_eq!(self.edge.expired, count, "{}", self.place);
            }
            _ => panic!("{}: no such verb", self.place),
        }
    }

    fn publish(&mut self, rest: &str) {
        for of_kind in rest.split(';') {
            let mut words = of_kind.split_whitespace();
            let kind = words.next().map(kind).unwrap();
            for word in words {
                match (word.strip_prefix('-'), word.split_once('=')) {
                    (Some(name), _) => {
                        let gone = self.setting.snapshot.remove(kind, name);
                        assert!(gone.is_some(), "{}: {name}", self.place);
                    }
                    (None, Some((names, content))) => {
                        for name in range(names) {
                            self.setting.put(kind, &name, content);
                        }
                    }
                    (None, None) => panic!("{}: {word}", self.place),
                }
            }
        }
        self.setting.publish();
    }

    fn ask(&mut self, rest: &str) {
        let mut words = rest.split_whitespace();
        let kind = words.next().map(kind).unwrap();
        let names: Vec<&str> = words.collect();
        let names = match *names {
            ["*"] => None,
            ["-"] => Some([].into()),
            _ => Some(
                names
                    .iter()
                    .flat_map(|names| range(names))
                    .map(Name::from)
                    .collect(),
            ),
        };
        self.edge.ask(kind, names, &self.setting);
    }

    fn see(&mut self, rest: &str) {
        let seen = self.edge.take_all(&self.setting);
        let wanted: Vec<Seen> = if rest == "nothing" {
            Vec::new()
        } else {
            rest.split('|').map(wanted).collect()
        };
        assert_eq!(seen, wanted, "{}", self.place);
    }

    fn reply(&mut self, rest: &str, takes: bool) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let kinds: Vec<Kind> = match words.first() {
            Some(word) => vec![kind(word)],
            None => Kind::ALL.into(),
        };
        let is_once = words.get(1) == Some(&"once");
        let mut replies = 0;
        for kind in kinds {
            let mut of_kind = self.edge.unspoken.iter().filter(|one| one.key.0 == kind);
            let count = if is_once { 1 } else { of_kind.by_ref().count() };
            for _ in 0..count {
                let reply = self.edge.reply(kind, &self.setting);
                let (is_taken, _) = reply.unwrap_or_else(|| panic!("{}: no answer", self.place));
                assert_eq!(is_taken, takes, "{}", self.place);
                replies += 1;
            }
        }
        assert!(replies > 0, "{}: no answer", self.place);
    }

    fn wait(&mut self, rest: &str) {
        self.see("nothing");
        let until = self.edge.until;
        let until = until.map(|until| (until - self.setting.now).as_millis().to_string());
        assert_eq!(until.unwrap_or_default(), rest, "{}", self.place);
    }

    fn refused(&mut self, rest: &str) {
        let refused = self.edge.client.refused();
        let refused = refused
            .iter()
            .map(|one| format!("{} {}", one.kind, one.name));
        let refused = refused.collect::<Vec<_>>().join(", ");
        let wanted = if rest == "nothing" { "" } else { rest };
        assert_eq!(refused, wanted, "{}", self.place);
    }
}

fn kind(word: &str) -> Kind {
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.unwrap_or_else(|| panic!("no kind: {word}"))
}

fn wanted(text: &str) -> Seen {
    let mut words = text.split_whitespace();
    let kind = words.next().map(kind).unwrap();
    let what = words.flat_map(|word| match word.split_once('=') {
        Some((names, content)) => {
            let (sign, names) = match names.strip_prefix('!') {
                Some(names) => ("!", names),
                None => ("", names),
            };
            let names = range(names).into_iter();
            names
                .map(|name| format!("{sign}{name}={content}"))
                .collect()
        }
        None => vec![word.to_owned()],
    });
    Seen {
        kind,
        what: what.collect(),
    }
}

/// `c1..3` is `c1`, `c2` and `c3`, each number with two digits.
fn range(names: &str) -> Vec<String> {
    let Some((first, last)) = names.split_once("..") else {
        return vec![names.to_owned()];
    };
    let (letter, first) = first.split_at(1);
    let numbers = first.parse::<u32>().unwrap()..=last.parse().unwrap();
    numbers
        .map(|number| format!("{letter}{number:02}"))
        .collect()
}
