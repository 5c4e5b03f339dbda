//! Options of HAProxy's `bind` line that a listener of Envoy's has too
//! ([section 5.1](https://docs.haproxy.org/2.6/configuration.html#5.1) of its manual).

use super::haproxy_lines::lines;
use super::haproxy_text::{Syntax, access_control};
use crate::intent::TlsVersion;

/// One option, as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BindOption {
    /// Each connection begins with a PROXY protocol header.
    ProxyProtocol,
    /// Most connections at a time.
    ConnectionLimit(u64),
    /// The lowest version of TLS.
    LowestTls(TlsVersion),
    /// Cipher suites up to TLS 1.2.
    Ciphers(Vec<String>),
    /// Protocols offered by ALPN.
    Alpn(Vec<String>),
    /// The path of a certificate, or of a folder of them.
    Certificate(String),
    /// TLS, by the certificates of other options.
    Tls,
    /// True of every listener here, or without a meaning for one.
    Needless,
    /// No listener here can have it, and can do without: these words.
    LeftOut(String),
    /// No listener here can have it, and without it one would serve other clients: these words.
    Unusable(String),
}

/// Options without an equivalent that say how connections are made, and not whose.
const LEFT_OUT: [&str; 6] = [
    "allow-0rtt",
    "generate-certificates",
    "no-ca-names",
    "strict-sni",
    "transparent",
    "v6only",
];

/// Those of them that have an argument.
const LEFT_OUT_WITH_ARGUMENT: [&str; 11] = [
    "ca-ignore-err",
    "ca-sign-file",
    "ca-sign-pass",
    "ciphersuites",
    "crt-ignore-err",
    "curves",
    "ecdhe",
    "mss",
    "ssl-max-ver",
    "tcp-ut",
    "tls-ticket-keys",
];

/// Cipher suites that Envoy knows, all of those that HAProxy's lists name in practice
/// ([`cipher_suites`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/common.proto#envoy-v3-api-field-extensions-transport-sockets-tls-v3-tlsparameters-cipher-suites)):
/// one name that it does not know makes it refuse the listener.
const CIPHERS: [&str; 12] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
];

impl BindOption {
    /// The path of a certificate, if it is one.
    pub(super) fn certificate(&self) -> Option<&str> {
        match self {
            Self::Certificate(path) => Some(path),
            Self::ProxyProtocol
            | Self::ConnectionLimit(_)
            | Self::LowestTls(_)
            | Self::Ciphers(_)
            | Self::Alpn(_)
            | Self::Tls
            | Self::Needless
            | Self::LeftOut(_)
            | Self::Unusable(_) => None,
        }
    }
}

/// The options in a text, in order; or how it restricts who connects, which no listener here can. A
/// text of several lines, and one that HAProxy cannot read, has none.
pub(super) fn options(text: &str) -> Result<Vec<BindOption>, UnusableBind> {
    let lines = lines(text).ok_or(UnusableBind::Unreadable)?;
    if let Some(how) = access_control(text, Syntax::Bind) {
        return Err(UnusableBind::Restricts(how));
    }
    let words = match lines.as_slice() {
        [] => return Ok(Vec::new()),
        [line] => line,
        [_, _, ..] => return Err(UnusableBind::Unreadable),
    };
    let mut words = words.iter().map(String::as_str);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let mut argument = || words.next().unwrap_or_default();
        let option = match word {
            "accept-proxy" => BindOption::ProxyProtocol,
            "maxconn" => number(word, argument()),
            "ssl-min-ver" => version(word, argument()),
            "no-tlsv10" => BindOption::LowestTls(TlsVersion::V1_1),
            "no-tlsv11" | "force-tlsv12" => BindOption::LowestTls(TlsVersion::V1_2),
            "no-tlsv12" | "force-tlsv13" => BindOption::LowestTls(TlsVersion::V1_3),
            "ciphers" => ciphers(argument()),
            "alpn" | "npn" => alpn(word, argument()),
            "ssl" => BindOption::Tls,
            "crt" => match argument() {
                "" => BindOption::Unusable(word.to_owned()),
                path => BindOption::Certificate(path.to_owned()),
            },
            // Envoy has neither SSL 3 nor sockets to hand over.
            "no-sslv3"
            | "tfo"
            | "v4v6"
            | "expose-fd"
            | "defer-accept"
            | "prefer-client-ciphers"
            | "no-tls-tickets" => BindOption::Needless,
            // They say which process listens, or under which name statistics are kept; `verify`
            // asks for nothing here.
            "process" | "thread" | "nice" | "name" | "id" | "level" | "backlog" | "verify" => {
                argument();
                BindOption::Needless
            }
            word if LEFT_OUT.contains(&word) => BindOption::LeftOut(word.to_owned()),
            word if LEFT_OUT_WITH_ARGUMENT.contains(&word) => {
                BindOption::LeftOut(format!("{word} {}", argument()))
            }
            // These choose who connects, as `interface` does, or are none of HAProxy's.
            "interface" | "namespace" | "crt-list" => {
                BindOption::Unusable(format!("{word} {}", argument()))
            }
            _ => BindOption::Unusable(word.to_owned()),
        };
        options.push(option);
    }
    Ok(options)
}

/// Reasons for which no listener can be opened as a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnusableBind {
    /// It is no line of HAProxy's, or more than one.
    Unreadable,
    /// It restricts who connects, in this way.
    Restricts(&'static str),
}

fn list(text: &str, separator: char) -> Vec<String> {
    let words = text.split(separator).map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The longest name of a protocol, and of all of them with a byte of length each
/// ([RFC 7301](https://www.rfc-editor.org/rfc/rfc7301#section-3.1)); Envoy refuses the certificate that a
/// longer one stands with.
const LONGEST_PROTOCOL_BYTES: usize = 255;
const LONGEST_PROTOCOLS_BYTES: usize = 1_024;

fn alpn(word: &str, argument: &str) -> BindOption {
    let names = list(argument, ',');
    let total: usize = names.iter().map(|name| name.len() + 1).sum();
    let fits = names
        .iter()
        .all(|name| name.len() <= LONGEST_PROTOCOL_BYTES);
    match fits && total <= LONGEST_PROTOCOLS_BYTES {
        true => BindOption::Alpn(names),
        false => BindOption::LeftOut(word.to_owned()),
    }
}

fn number(word: &str, argument: &str) -> BindOption {
    match argument.parse() {
        Ok(limit @ 1..) => BindOption::ConnectionLimit(limit),
        Ok(0) | Err(_) => BindOption::LeftOut(format!("{word} {argument}")),
    }
}

fn version(word: &str, argument: &str) -> BindOption {
    BindOption::LowestTls(match argument {
        "SSLv3" | "TLSv1.0" => TlsVersion::V1_0,
        "TLSv1.1" => TlsVersion::V1_1,
        "TLSv1.2" => TlsVersion::V1_2,
        "TLSv1.3" => TlsVersion::V1_3,
        _ => return BindOption::LeftOut(format!("{word} {argument}")),
    })
}

/// The suites of a list that Envoy knows. OpenSSL's lists hold groups and exclusions too
/// (`ECDHE+AESGCM`, `!aNULL`): a group stands for the suites whose names hold all of its words.
fn ciphers(argument: &str) -> BindOption {
    let mut suites: Vec<String> = Vec::new();
    for entry in list(argument, ':') {
        let words: Vec<String> = entry.split('+').map(family).collect();
        let is_suite = CIPHERS.contains(&&*entry);
        let fits = |suite: &&str| {
            let plain = suite.replace('-', "");
            match is_suite {
                true => **suite == entry,
                false => words.iter().all(|word| plain.contains(&**word)),
            }
        };
        let is_exclusion = entry.starts_with(['!', '-']);
        for suite in CIPHERS.iter().filter(|suite| !is_exclusion && fits(suite)) {
            if !suites.iter().any(|known| known == suite) {
                suites.push((*suite).to_owned());
            }
        }
    }
    match suites.is_empty() {
        false => BindOption::Ciphers(suites),
        true => BindOption::LeftOut(format!("ciphers {argument}")),
    }
}

/// A word of a group as it stands in names of suites, without hyphens.
fn family(word: &str) -> String {
    match word {
        "EECDH" | "ECDHE" | "kEECDH" => "ECDHE".to_owned(),
        "AESGCM" => "GCM".to_owned(),
        "CHACHA20" => "CHACHA20".to_owned(),
        "aRSA" => "RSA".to_owned(),
        "aECDSA" => "ECDSA".to_owned(),
        "HIGH" => String::new(),
        other => other.replace('-', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_with_an_equivalent_are_understood() {
        let text = "accept-proxy no-sslv3 no-tlsv10 maxconn 200 alpn h2,http/1.1 process 1-2 ssl \
                    crt \"/etc/a b.pem\" # of the shop";
        let expected = [
            BindOption::ProxyProtocol,
            BindOption::Needless,
            BindOption::LowestTls(TlsVersion::V1_1),
            BindOption::ConnectionLimit(200),
            BindOption::Alpn(vec!["h2".into(), "http/1.1".into()]),
            BindOption::Needless,
            BindOption::Tls,
            BindOption::Certificate("/etc/a b.pem".into()),
        ];
        assert_eq!(options(text).as_deref(), Ok(&expected[..]));
        assert_eq!(options(" # nothing").as_deref(), Ok(&[][..]));
    }

    #[test]
    fn a_restriction_is_noticed_in_every_spelling() {
        for text in [
            "ca-file x verify required",
            "verify optional",
            "verify",
            "crl-file x",
            "\"verify\" required",
            "name ca-file x",
            "maxconn verify required",
            "accept-proxy\n http-request deny",
            "accept-proxy\r\n acl a src 10.0.0.1",
        ] {
            let found = options(text);
            assert!(matches!(found, Err(UnusableBind::Restricts(_))), "{text}");
        }
        assert_eq!(options("verify none"), Ok(vec![BindOption::Needless]));
    }

    #[test]
    fn a_text_that_is_not_one_line_has_no_options() {
        for text in ["accept-proxy\nmode http", "\"accept-proxy", "name \"$A\""] {
            assert_eq!(options(text), Err(UnusableBind::Unreadable), "{text}");
        }
    }

    #[test]
    fn protocols_that_proxies_would_refuse_are_left_out() {
        let (longest, longer) = ("a".repeat(255), "a".repeat(256));
        let named = options(&format!("alpn h2,{longest}")).unwrap();
        assert_eq!(named, [BindOption::Alpn(vec!["h2".into(), longest])]);
        for text in [longer, vec!["ab"; 342].join(",")] {
            let found = options(&format!("alpn {text}")).unwrap();
            assert_eq!(found, [BindOption::LeftOut("alpn".into())]);
        }
    }

    #[test]
    fn others_are_named() {
        for text in [
            "transparent",
            "strict-sni",
            "curves X25519",
            "maxconn 0",
            "maxconn x",
            "maxconn",
            "ssl-min-ver TLSv9",
            "ciphers nonsense",
        ] {
            let found = options(text).unwrap();
            let [BindOption::LeftOut(words)] = &*found else {
                panic!("{text}: {found:?}");
            };
            assert_eq!(words.trim(), text);
        }
        for text in [
            "interface lo",
            "namespace blue",
            "crt-list /etc/list",
            "crt",
            "uid",
            "accept-netscaler-cip",
        ] {
            let found = options(text).unwrap();
            assert_eq!(found, [BindOption::Unusable(text.to_owned())]);
        }
    }

    #[test]
    fn groups_of_ciphers_are_suites_that_proxies_know() {
        let suites = |text: &str| match &*options(text).unwrap() {
            [BindOption::Ciphers(suites)] => suites.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(suites("ciphers ECDHE+AESGCM:!aNULL").len(), 4);
        let one = "ECDHE-RSA-AES128-GCM-SHA256";
        assert_eq!(suites(&format!("ciphers {one}:{one}")), [one]);
        assert_eq!(suites("ciphers AES128-GCM-SHA256"), ["AES128-GCM-SHA256"]);
    }
}
