//! Labels for service ports: listeners of an app's own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::intent::{ListenTls, PortMode, TlsVersion, WantedCertificates};
use crate::labels::bind_options::{BindOption, UnusableBind, options};
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, SupportedLabel, ValueKind};
use crate::state::problem::{Reason, quoted, shown};

const PORT: &str = "PORT";

pub(crate) const FAMILY: Family = Family {
    title: "Service ports",
    labels: &[
        Label::of_port(
            PORT,
            ValueKind::Number,
            Support::served(read_port),
            "service port, instead of the one in the definition; opened with `SERVICE_PORTS`",
        ),
        Label::of_port(
            "BIND_ADDR",
            ValueKind::BindText,
            Support::served(read_address),
            "address that the service port listens on, instead of `SERVICE_PORT_ADDR`; `*` is every \
             one",
        ),
        Label::of_port(
            "MODE",
            ValueKind::Text,
            Support::served(read_mode),
            "`http` or `tcp`; without it http for a port with a host or a health check over `HTTP`, \
             tcp for any other",
        ),
        Label::of_port(
            "SSL_CERT",
            ValueKind::BindText,
            Support::served(read_certificate),
            "certificate of the service port: the file's name without its folder and its ending is \
             the certificate's, a folder stands for all of them",
        ),
        Label::of_port(
            "BIND_OPTIONS",
            ValueKind::BindText,
            Support::in_part(
                read_options,
                "`accept-proxy`, `maxconn`, `ssl crt` as `SSL_CERT`, and with a certificate `alpn`, \
                 `ciphers`, `ssl-min-ver` and `no-tlsv1x`; other options of connections are left out, \
                 with one that says who connects (`verify`, `interface`) the service port is not opened",
            ),
            "options of the service port's `bind` line",
        ),
    ],
};

/// The service port that the labels of a port ask for, if it is one.
pub(in crate::labels) fn labelled_port(own: &[SupportedLabel<'_>]) -> Option<u16> {
    let label = own.iter().find(|label| label.label.name == PORT)?;
    number(label.text)
}

fn number(label: LabelText<'_>) -> Option<u16> {
    let number = label.value.trim().parse().ok();
    number.filter(|number| *number > 0)
}

fn read_port(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match number(label) {
        Some(port) => draft.listener.port = Some(label.asks_for(port)),
        None => {
            draft.reject(
                label,
                format!(
                    "the service port is not opened: {} is not a port",
                    quoted(label.value)
                ),
                "write a number from 1 to 65535, or remove the label",
            );
            draft.listener.is_left_out = true;
        }
    }
}

fn read_address(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match address(label.value.trim()) {
        Some(address) => draft.listener.address = Some(address),
        None => {
            draft.reject(
                label,
                format!(
                    "the service port is not opened: {} is not an address to listen on",
                    quoted(label.value)
                ),
                "write the IP address of an interface, or * for every one",
            );
            draft.listener.is_left_out = true;
        }
    }
}

/// The address of a text that connections can be made to.
fn address(text: &str) -> Option<IpAddr> {
    if matches!(text, "*" | "") {
        return Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    // An address of IPv4 in one of IPv6 is itself.
    let address: IpAddr = in_brackets.unwrap_or(text).parse().ok()?;
    let address = address.to_canonical();
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    (!address.is_multicast() && !is_broadcast).then_some(address)
}

fn read_mode(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let mode = match label.value.trim().to_ascii_lowercase().as_str() {
        "http" => PortMode::Http,
        "tcp" => PortMode::Tcp,
        _ => {
            return draft.reject(
                label,
                format!("{} is not a mode", quoted(label.value)),
                "write http or tcp, or remove the label",
            );
        }
    };
    draft.listener.mode = Some(label.asks_for(mode));
}

fn read_certificate(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let mut words = label.value.split_whitespace();
    let path = words.next().unwrap_or_default();
    // What follows the file in HAProxy's line are options of the line.
    if words.next().is_some() || path.is_empty() {
        draft.reject(
            label,
            format!(
                "the service port is not opened: {} is not the path of one certificate",
                quoted(label.value)
            ),
            "write one path, and options into BIND_OPTIONS",
        );
        draft.listener.is_left_out = true;
        return;
    }
    draft.listener.tls = Some(tls_with(certificates([path].into_iter()), label));
}

/// TLS with these certificates and nothing else that is asked for.
fn tls_with(certificates: WantedCertificates, label: LabelText<'_>) -> ListenTls {
    ListenTls {
        certificates,
        origin: label.origin(),
        lowest: TlsVersion::default(),
        ciphers: Vec::new(),
        alpn: Vec::new(),
    }
}

/// The certificates of files: each is named as its file is, and a folder has all of them.
fn certificates<'a>(paths: impl Iterator<Item = &'a str>) -> WantedCertificates {
    let names: Option<BTreeSet<String>> = paths
        .map(|path| {
            let file = path.rsplit('/').next()?;
            let (name, _) = file.rsplit_once('.')?;
            (!name.is_empty()).then(|| name.to_owned())
        })
        .collect();
    names.map_or(WantedCertificates::All, |names| {
        WantedCertificates::Named(names.into_iter().collect())
    })
}

fn read_options(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let options = match options(label.value) {
        Ok(options) => options,
        Err(why) => return leave_out(label, why, draft),
    };
    add_certificates(label, &options, draft);
    let mut unknown: Vec<String> = Vec::new();
    for option in options {
        let tls = draft.listener.tls.as_mut();
        match (option, tls) {
            (BindOption::ProxyProtocol, _) => draft.listener.proxy_protocol = true,
            (BindOption::ConnectionLimit(limit), _) => {
                draft.listener.connection_limit = Some(limit);
            }
            (BindOption::LowestTls(version), Some(tls)) => tls.lowest = tls.lowest.max(version),
            (BindOption::Ciphers(ciphers), Some(tls)) => tls.ciphers = ciphers,
            (BindOption::Alpn(protocols), Some(tls)) => tls.alpn = protocols,
            // Without a certificate HAProxy does nothing with them either.
            (BindOption::LowestTls(_) | BindOption::Ciphers(_) | BindOption::Alpn(_), None)
            | (BindOption::Needless | BindOption::Certificate(_), _)
            | (BindOption::Tls, Some(_)) => {}
            (BindOption::LeftOut(option), _) => unknown.push(option),
            (BindOption::Tls, None) => unusable(label, "ssl", draft),
            (BindOption::Unusable(option), _) => unusable(label, &option, draft),
        }
    }
    if !unknown.is_empty() && !draft.listener.is_left_out {
        draft.note(
            label,
            Reason::UnsupportedLabel,
            format!(
                "the service port is opened without {}",
                shown(&unknown.join(", "))
            ),
            "remove what it can do without",
        );
    }
}

/// Adds the certificates that options name to those of `SSL_CERT`.
fn add_certificates(label: LabelText<'_>, options: &[BindOption], draft: &mut ServiceDraft<'_>) {
    let paths: Vec<&str> = options.iter().filter_map(BindOption::certificate).collect();
    // Without TLS HAProxy does nothing with them.
    if paths.is_empty() || !options.contains(&BindOption::Tls) && draft.listener.tls.is_none() {
        return;
    }
    let more = certificates(paths.into_iter());
    match (&mut draft.listener.tls, more) {
        (Some(tls), WantedCertificates::Named(more)) => {
            if let WantedCertificates::Named(known) = &mut tls.certificates {
                known.extend(more);
            }
        }
        (Some(tls), WantedCertificates::All) => tls.certificates = WantedCertificates::All,
        (tls @ None, certificates) => *tls = Some(tls_with(certificates, label)),
    }
}

/// Leaves the service port closed for an option that a listener here cannot have.
fn unusable(label: LabelText<'_>, option: &str, draft: &mut ServiceDraft<'_>) {
    draft.note(
        label,
        Reason::UnsupportedLabel,
        format!(
            "the service port is not opened: without {} it would serve other clients, or serve them \
             otherwise",
            quoted(option)
        ),
        "write addresses into BIND_ADDR and certificates into SSL_CERT, or remove the option",
    );
    draft.listener.is_left_out = true;
}

/// Leaves the service port closed, since its options restrict who connects, or cannot be read.
fn leave_out(label: LabelText<'_>, why: UnusableBind, draft: &mut ServiceDraft<'_>) {
    match why {
        UnusableBind::Restricts(how) => draft.note(
            label,
            Reason::UnsupportedGuard,
            format!("it {how}, which is not supported yet, so the service port is not opened"),
            "let the app itself check its clients and remove the option, or keep the app on \
             marathon-lb",
        ),
        UnusableBind::Unreadable => draft.reject(
            label,
            "the service port is not opened: the options are not one line that HAProxy reads"
                .into(),
            "write the options of a bind line, with spaces between them",
        ),
    }
    draft.listener.is_left_out = true;
}
