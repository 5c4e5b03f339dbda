//! What a change costs a client that has settled: as many names looked at however many it holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Setting, resource};
use crate::snapshot::looked_at;
use crate::snapshot::{Flavour, Kind, Name};
use crate::xds::delivery::client::{Answer, Client, Step};
use crate::xds::delivery::request::{Names, Request, Wish};
use crate::xds::delivery::{Form, Heard};

/// Two clients that follow every cluster, the endpoints of each by name, and the routes to all.
struct Settled {
    setting: Setting,
    clients: [Client; 2],
    form: Form,
}

impl Settled {
    fn new(form: Form, clusters: usize) -> Self {
        let mut setting = Setting::new(Instant::now());
        let names: Vec<Name> = (0..clusters).map(|n| format!("c{n}").into()).collect();
        for name in &names {
            setting.put(Kind::Cluster, name, "1");
            setting.put(Kind::Endpoint, name, "1");
        }
        setting.put(Kind::Listener, "http", "1");
        let routes = format!("1>{}", names.join(","));
        setting.put(Kind::Route, "http", &routes);
        setting.publish();
        let clients = [0, 1].map(|_| Client::new(form, Flavour::Ads, setting.now));
        let mut settled = Self {
            setting,
            clients,
            form,
        };
        for (kind, names) in [
            (Kind::Cluster, Vec::new()),
            (Kind::Endpoint, names),
            (Kind::Listener, Vec::new()),
            (Kind::Route, vec!["http".into()]),
        ] {
            for client in 0..2 {
                settled.hear(client, kind, None, Some(names.clone()));
                settled.take_all(client);
            }
        }
        settled
    }

    fn hear(
        &mut self,
        client: usize,
        kind: Kind,
        nonce: Option<u64>,
        names: Option<Vec<Name>>,
    ) -> Heard {
        let wish = match self.form {
            Form::Delta => Wish::Changed {
                subscribe: names.unwrap_or_default(),
                unsubscribe: Vec::new(),
                versions: BTreeMap::new(),
            },
            Form::Sotw | Form::Rest => Wish::Listed {
                names: names.map_or(Names::Same, Names::These),
                version: "".into(),
            },
        };
        let request = Request {
            nonce,
            error: None,
            wish,
        };
        let (setting, client) = (&self.setting, &mut self.clients[client]);
        client.hear(kind, request, &setting.shared, &setting.pacing, setting.now)
    }

    fn next(&mut self, client: usize) -> Option<Answer> {
        let setting = &self.setting;
        let snapshot = setting.shared.current().unwrap();
        let view = setting.shared.view(&snapshot, setting.now);
        match self.clients[client].next(view, &setting.pacing, setting.now) {
            Step::Send(answer) => Some(answer),
            Step::Wait { .. } => None,
        }
    }

    /// Takes and acknowledges everything that is due; answers how many answers that was.
    fn take_all(&mut self, client: usize) -> usize {
        let mut answers = 0;
        while let Some(answer) = self.next(client) {
            let kind = answer.content.kind();
            let heard = self.hear(client, kind, Some(answer.nonce), None);
            assert!(matches!(heard, Heard::Accepted { .. }), "{heard:?}");
            answers += 1;
        }
        answers
    }

    /// How many names are looked at for one change, by each client: for the answers about it, for
    /// the acknowledgement of each, and for the look for more.
    fn change(&mut self, kind: Kind, content: &str) -> [usize; 2] {
        let changed = Arc::new(resource(kind, "c7", content));
        self.setting.snapshot.insert(kind, changed);
        self.setting.publish();
        [0, 1].map(|client| {
            let (answers, names) = looked_at::during(|| self.take_all(client));
            assert!(answers > 0, "nothing was sent");
            names
        })
    }
}

/// More than any change below looks at, by far less than what a client holds.
const MOST: usize = 40;

#[test]
fn a_change_and_its_acknowledgement_cost_the_same_whatever_a_client_holds() {
    for form in [Form::Sotw, Form::Delta] {
        let [mut few, mut many] = [20, 20_000].map(|clusters| Settled::new(form, clusters));
        for kind in [Kind::Endpoint, Kind::Cluster] {
            for content in ["2", "3"] {
                let ([first_of_few, few], [first_of_many, many]) =
                    (few.change(kind, content), many.change(kind, content));
                println!("{form:?}, {kind}: {first_of_few}, {few}; {first_of_many}, {many}");
                assert_eq!(few, many, "{form:?}, {kind}");
                assert!(few <= MOST, "{form:?}, {kind}: {few}");
                // All clusters are one answer over state-of-the-world, joined once for all clients.
                if form == Form::Delta || kind == Kind::Endpoint {
                    assert_eq!(first_of_few, first_of_many, "{form:?}, {kind}");
                }
            }
        }
    }
}

/// What takes one client from an index of endpoints to another is found out once for all that are as
/// it is: the others look at no name, and are left as it is left.
#[test]
fn a_change_of_endpoints_is_looked_through_for_the_first_client_alone() {
    for form in [Form::Sotw, Form::Delta] {
        let mut settled = Settled::new(form, 20);
        for (content, changed) in [("2", vec!["c7"]), ("3", vec!["c1", "c19", "c7"])] {
            for name in &changed {
                let new = Arc::new(resource(Kind::Endpoint, name, content));
                settled.setting.snapshot.insert(Kind::Endpoint, new);
            }
            settled.setting.publish();
            let (first, of_first) = looked_at::during(|| settled.next(0));
            let (second, of_second) = looked_at::during(|| settled.next(1));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert!(of_first > 0);
            assert_eq!(of_second, 0, "{form:?}");
            assert!(Arc::ptr_eq(&first.content, &second.content));
            let names = second.content.sent().iter().map(|sent| &*sent.name);
            assert_eq!(names.collect::<Vec<_>>(), changed);
            let state = |settled: &Settled, client: usize| {
                format!("{:?}", settled.clients[client].subscriptions)
            };
            assert_eq!(state(&settled, 0), state(&settled, 1), "{form:?}");
            for (client, answer) in [first, second].iter().enumerate() {
                settled.hear(client, Kind::Endpoint, Some(answer.nonce), None);
            }
            assert_eq!(state(&settled, 0), state(&settled, 1), "{form:?}");
            assert!(settled.next(1).is_none());
        }
    }
}

/// A client that must be told of what is gone is not given the answer of one that need not be.
#[test]
fn a_client_that_is_told_of_removals_is_told_although_another_was_not() {
    let mut settled = Settled::new(Form::Delta, 20);
    // It gives up what it has with its clusters; the second asks for endpoints alone.
    let alone = Client::new(Form::Delta, Flavour::Ads, settled.setting.now);
    settled.clients[1] = alone;
    let names = (0..20).map(|n| format!("c{n}").into()).collect();
    settled.hear(1, Kind::Endpoint, None, Some(names));
    settled.take_all(1);
    let new = Arc::new(resource(Kind::Endpoint, "c7", "2"));
    settled.setting.snapshot.insert(Kind::Endpoint, new);
    settled.setting.snapshot.remove(Kind::Endpoint, "c8");
    settled.setting.publish();
    settled.take_all(0);
    let mut removed = Vec::new();
    while let Some(answer) = settled.next(1) {
        removed.extend(answer.content.removed().iter().map(ToString::to_string));
        settled.hear(1, Kind::Endpoint, Some(answer.nonce), None);
    }
    assert_eq!(removed, ["c8"]);
}
