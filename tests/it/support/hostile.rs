//! Apps with labels that nobody should write: the words of the fixtures, mixed and broken, and texts
//! that mean something to HAProxy, Envoy or a terminal.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// Pieces of values, hosts first.
const PIECES: &[&str] = &[
    "a.test",
    "A.Test.",
    "*.a.test",
    "*",
    "*a.test",
    "a..test",
    "a.test:80",
    "a_b.test,a.test a.test",
    "\u{e4}.test",
    "[::1]",
    "/",
    "/x",
    "-i /X",
    "-f /x",
    "/x/../y",
    "//x",
    "/%2F%zz",
    "/{x}*",
    "/x?y#z",
    "^/a.*",
    "(",
    "[a-",
    "(?i)x",
    "a{1000}{1000}",
    "x{0,99999}",
    r"\1",
    "(?=x)",
    r"\Q",
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "99999999999999999999",
    "1e9",
    "true",
    "T",
    "tcp",
    "http",
    "r:u:$1$abcdefgh$irJZQm7fw3Oe2gF1gH8i7/",
    "r:u:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "r:u:$5$rounds=999999999$a$b",
    "r\u{7}:u:$6$",
    "10.0.0.0/8",
    "::/0",
    "10.0.0.0/33",
    "ssl crt /x.pem ciphers ALL:!NO:x alpn h2,http/1.1",
    "accept-proxy maxconn 0",
    "ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.0",
    "%REQ(x)%",
    "%UNKNOWN%",
    "%",
    "%%",
    "%[req.hdr(Host)]%[path]",
    "\0",
    "\r\nX-Evil: 1",
    "\t",
    "\n",
    "\u{7f}",
    "\u{202e}",
    "\u{1f980}",
    "hdr(a b)",
    "hdr()",
    "url_param =",
    "uri depth 0",
    "cookie",
    "  http-response set-header X-A \"%[src]\"\n",
    "  http-request set-header :path /x\n",
    "  http-request set-header X-A %REQ(b)%\n",
    "  http-response del-header Host\n",
    "  rspadd X:\\ y\n",
    "  timeout server 99999999999d\n",
    "  timeout client 0\n",
    "  timeout tunnel 1us\n",
    "  balance random(0)\n",
    "  server n a.test:80 ssl verify none sni str(a b)\n",
    "  server n 127.0.0.1:0\n",
    "  server {serverName} {host_ipv4}:{port}{cookieOptions}{healthCheckOptions}\n",
    "  redirect location http://x/%[path] code 999\n",
    "  acl a path_reg ^/x(\n  use_backend {backend} if a\n",
    "  acl a hdr_end(host) -i .a.test\n  use_backend {backend} if a\n",
    "  default_backend {backend}\n",
    "{",
    "}",
    "{backend}",
    "{0}",
    "$1",
    "\\",
    "\"",
    "'",
    "",
    " ",
    ",",
    ":",
    ";",
];

/// Most bytes of a value.
const LONGEST_BYTES: usize = 100_000;

/// Values that the fixtures give to labels, by the name behind prefix and index.
pub(crate) struct Words {
    by_name: BTreeMap<String, Vec<String>>,
    names: Vec<String>,
}

/// A maker of apps. `below(n)` chooses a number below `n`.
pub(crate) struct Hostile<'a, F> {
    words: &'a Words,
    below: F,
}

impl Words {
    /// The words of the fixtures in a folder, and labels of these names.
    pub(crate) fn read(fixtures: &Path, names: impl Iterator<Item = &'static str>) -> Self {
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut cases: Vec<_> = fs::read_dir(fixtures).unwrap().flatten().collect();
        cases.sort_by_key(fs::DirEntry::path);
        for case in cases {
            let Ok(bytes) = fs::read(case.path().join("apps.json")) else {
                continue;
            };
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            for app in answer["apps"].as_array().into_iter().flatten() {
                for (key, value) in app["labels"].as_object().into_iter().flatten() {
                    let name = key.trim_start_matches("HAPROXY_");
                    let name = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
                    let values = by_name.entry(name.to_owned()).or_default();
                    values.extend(value.as_str().map(str::to_owned));
                }
            }
        }
        Self {
            by_name,
            names: names.map(str::to_owned).collect(),
        }
    }
}

impl<F: FnMut(usize) -> usize> Hostile<'_, F> {
    /// A maker with these words.
    pub(crate) fn new(words: &Words, below: F) -> Hostile<'_, F> {
        Hostile { words, below }
    }

    /// An app of this number, whose labels say anything.
    pub(crate) fn app(&mut self, number: usize) -> Value {
        let id = format!("/hostile/{number}");
        let ports = 1 + (self.below)(3);
        let mut labels = Map::new();
        labels.insert("HAPROXY_GROUP".to_owned(), json!("external"));
        labels.insert(
            format!("HAPROXY_{}_VHOST", (self.below)(ports)),
            json!(format!("h{number}.test")),
        );
        for _ in 0..=(self.below)(8) {
            let (key, value) = self.label(ports);
            labels.insert(key, json!(value));
        }
        let service_port = |me: &mut Self, index: usize| match (me.below)(10) {
            0 => [0, 8_880, 8_443, 10_000, 65_535][(me.below)(5)],
            _ => 10_001 + (number * 3 + index) % 50_000,
        };
        let service_ports: Vec<_> = (0..ports).map(|index| service_port(self, index)).collect();
        let mut app = json!({
            "id": id,
            "version": "2024-01-01T00:00:00.000Z",
            "labels": labels,
        });
        let mode = ["host", "container/bridge", "container"][(self.below)(3)];
        app["networks"] = json!([{ "mode": mode }]);
        if mode == "host" {
            let ports = service_ports.iter();
            app["portDefinitions"] = ports
                .map(|port| json!({ "port": port, "protocol": "tcp" }))
                .collect();
        } else {
            let mapping = |port| {
                let (container, host) = ((self.below)(2) * 8_080, (self.below)(2) * 31_000);
                json!({ "containerPort": container, "hostPort": host, "servicePort": port,
                        "protocol": "tcp" })
            };
            app["container"] = json!({
                "portMappings": service_ports.iter().map(mapping).collect::<Vec<_>>(),
            });
        }
        let task = |task: usize| {
            let host = format!("10.{}.{}.{task}", number / 250 % 250, number % 250 + 1);
            json!({
                "id": format!("hostile_{number}.instance-0a0a0a0a-0000-11ee-8000-{task:012}._app.1"),
                "host": host,
                "state": "TASK_RUNNING",
                "version": "2024-01-01T00:00:00.000Z",
                "ports": (0..ports).map(|index| 31_000 + index).collect::<Vec<_>>(),
                "ipAddresses": [{ "ipAddress": host, "protocol": "IPv4" }],
            })
        };
        app["tasks"] = (1..=(self.below)(3)).map(task).collect();
        app
    }

    fn label(&mut self, ports: usize) -> (String, String) {
        let names = &self.words.names;
        let name = names[(self.below)(names.len())].clone();
        let index = match (self.below)(20) {
            0 => ["00", "99999999999999999999", "{n}", "-1", ""][(self.below)(5)].to_owned(),
            1 => return (format!("HAPROXY_{name}"), self.value(&name)),
            2 => ports.to_string(),
            _ => (self.below)(ports).to_string(),
        };
        let prefix = match (self.below)(40) {
            0 => "haproxy",
            _ => "HAPROXY",
        };
        let value = self.value(&name);
        (format!("{prefix}_{index}_{name}"), value)
    }

    fn value(&mut self, name: &str) -> String {
        let own = self.words.by_name.get(name).filter(|own| !own.is_empty());
        let mut value = match (own, (self.below)(4)) {
            (Some(own), 0..=2) => own[(self.below)(own.len())].clone(),
            (None, 0) => {
                let place = (self.below)(self.words.by_name.len());
                let others = self.words.by_name.values().nth(place);
                others
                    .and_then(|others| others.first())
                    .cloned()
                    .unwrap_or_default()
            }
            (Some(_) | None, _) => self.pieces(),
        };
        match (self.below)(8) {
            0..=2 => {
                let places: Vec<usize> = value.char_indices().map(|(at, _)| at).collect();
                let at = places.get((self.below)(places.len() + 1)).copied();
                let piece = PIECES[(self.below)(PIECES.len())];
                value.insert_str(at.unwrap_or(value.len()), piece);
            }
            3 => {
                let cut = (self.below)(value.chars().count() + 1);
                value = value.chars().take(cut).collect();
            }
            4 if (self.below)(20) == 0 => {
                value = value.repeat(LONGEST_BYTES / value.len().max(1));
            }
            _ => {}
        }
        value
    }

    fn pieces(&mut self) -> String {
        let mut pieces = String::new();
        for _ in 0..=(self.below)(3) {
            pieces.push_str(PIECES[(self.below)(PIECES.len())]);
            pieces.push_str(["", " ", ","][(self.below)(3)]);
        }
        pieces
    }
}
