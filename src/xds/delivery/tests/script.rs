//! Stories about one client, written as lines and played over every protocol.

use super::Setting;
use super::envoy_model::{EnvoyModel, Seen};
use crate::snapshot::{Kind, Name};
use crate::xds::delivery::{AckNack, ProtocolVariant};
use tokio::time::Instant;

/// Plays a story over every protocol. Its lines:
///
/// - `publish clusters a=1 -b; routes http=1>a`: changes the snapshot
/// - `ask clusters *`, `ask endpoints a b`: subscribes; `-` for nothing
/// - `see clusters a=1 -b !c=bad | endpoints a=1`, `see nothing`: takes everything that is due;
///   `!` is rejected, `-` is gone
/// - `ack`, `ack clusters`, `ack clusters once`, `nack clusters`: acknowledges or rejects the
///   responses that it took, all of a kind or the oldest; over REST by polling again
/// - `pretend secrets`: accepts what it would reject
/// - `pass 3000`: lets milliseconds pass
/// - `wait 3000`, `wait`: milliseconds until something becomes due by itself; never
/// - `refused clusters a`, `refused nothing`: resources in quarantine
/// - `reconnect`: a new stream, with what it has; over REST a process that forgot it
/// - `reboot`: a client that begins with nothing; over REST the process remembers it
/// - `restart`: as `reconnect`, to another process, which has published nothing yet
/// - `lose routes`: over REST, the response is lost
/// - `anew endpoints a`: over REST, polls without a version
/// - `stale clusters`: over state-of-the-world, accepts the newest response with an old error
/// - `expired 1`: number of gates that timed out so far
///
/// A line that begins with `rest:`, `sotw:`, `delta:` or `grpc:` is for these alone.
pub(super) fn play(story: &str, script: &str) {
    let all = [
        ProtocolVariant::Sotw,
        ProtocolVariant::Delta,
        ProtocolVariant::Rest,
    ];
    play_over(&all, story, script);
}

/// Plays a story over these protocols.
pub(super) fn play_over(protocols: &[ProtocolVariant], story: &str, script: &str) {
    for protocol in protocols.iter().copied() {
        let mut stage = Stage::new(protocol);
        for (number, line) in script.lines().enumerate() {
            let line = line.trim();
            let line = match line.split_once(':') {
                Some((protocols, rest)) if is_for(protocols, protocol) => rest.trim(),
                Some(_) => continue,
                None => line,
            };
            if !line.is_empty() && !line.starts_with('#') {
                stage.place = format!("{story}, {protocol:?}, line {}: {line}", number + 1);
                // Context for what panics inside.
                eprintln!("{}", stage.place);
                stage.step(line);
            }
        }
    }
}

fn is_for(protocols: &str, protocol: ProtocolVariant) -> bool {
    match (protocols, protocol) {
        ("rest", ProtocolVariant::Rest)
        | ("sotw", ProtocolVariant::Sotw)
        | ("delta", ProtocolVariant::Delta) => true,
        ("grpc", ProtocolVariant::Sotw | ProtocolVariant::Delta) => true,
        ("whole", ProtocolVariant::Sotw | ProtocolVariant::Rest) => true,
        ("rest" | "sotw" | "delta" | "grpc" | "whole", _) => false,
        _ => panic!("no protocol: {protocols}"),
    }
}

struct Stage {
    setting: Setting,
    model: EnvoyModel,
    place: String,
}

impl Stage {
    fn new(protocol: ProtocolVariant) -> Self {
        let setting = Setting::new(Instant::now());
        Self {
            model: EnvoyModel::new(protocol, &setting),
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
            "reconnect" => self.model.reconnect(&self.setting),
            "reboot" => self.model.reboot(&self.setting),
            "restart" => {
                self.setting = Setting::new(self.setting.now);
                self.model.reconnect(&self.setting);
            }
            "pretend" => {
                self.model.pretend(kind(rest));
                self.reply(rest, true);
            }
            "lose" => {
                let heard = self.model.lose(kind(rest), &self.setting);
                assert!(heard.is_some(), "{}: no answer", self.place);
            }
            "anew" => {
                let (of, name) = rest.split_once(' ').unwrap();
                self.model.ask_anew(kind(of), &name.into(), &self.setting);
            }
            "stale" => {
                let heard = self
                    .model
                    .accept_with_stale_error(kind(rest), &self.setting);
                let is_accepted = matches!(heard, AckNack::Ack { .. });
                assert!(is_accepted, "{}: {heard:?}", self.place);
            }
            "expired" => {
                let count: usize = rest.parse().unwrap();
                assert_eq!(self.model.expired, count, "{}", self.place);
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
        self.model.ask(kind, names, &self.setting);
    }

    fn see(&mut self, rest: &str) {
        let seen = self.model.take_all(&self.setting);
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
            let mut of_kind = self.model.pending.iter().filter(|one| one.key.0 == kind);
            let count = if is_once { 1 } else { of_kind.by_ref().count() };
            for _ in 0..count {
                let reply = self.model.reply(kind, &self.setting);
                let (is_taken, _) = reply.unwrap_or_else(|| panic!("{}: no answer", self.place));
                assert_eq!(is_taken, takes, "{}", self.place);
                replies += 1;
            }
        }
        assert!(replies > 0, "{}: no answer", self.place);
    }

    fn wait(&mut self, rest: &str) {
        self.see("nothing");
        let until = self.model.until;
        let until = until.map(|until| (until - self.setting.now).as_millis().to_string());
        assert_eq!(until.unwrap_or_default(), rest, "{}", self.place);
    }

    fn refused(&mut self, rest: &str) {
        let refused = self.model.client.refused();
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
