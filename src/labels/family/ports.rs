//! Labels for service ports: listeners of an app's own.

use std::net::{IpAddr, Ipv4Addr};

use crate::intent::{ListenTls, PortMode, TlsVersion, WantedCertificates};
use crate::labels::bind_options::{BindOption, options};
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
                "`accept-proxy`, `maxconn`, and with `SSL_CERT` `alpn`, `ciphers`, `ssl-min-ver` and \
                 `no-tlsv1x`; with a client certificate the service port is not opened, any other \
                 option is left out",
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
    let text = label.value.trim();
    let parsed = match text {
        "*" | "" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        _ => text.trim_matches(['[', ']']).parse(),
    };
    match parsed {
        Ok(address) => draft.listener.address = Some(address),
        Err(_) => {
            draft.reject(
                label,
                format!(
                    "the service port is not opened: {} is not an address",
                    quoted(label.value)
                ),
                "write an IP address, or * for every one",
            );
            draft.listener.is_left_out = true;
        }
    }
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
    let file = path.rsplit('/').next().unwrap_or_default();
    let name = file
        .rsplit_once('.')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, _)| name);
    draft.listener.tls = Some(ListenTls {
        certificates: match name {
            Some(name) => WantedCertificates::Named([name.to_owned()].into()),
            None => WantedCertificates::All,
        },
        origin: label.origin(),
        lowest: TlsVersion::default(),
        ciphers: Vec::new(),
        alpn: Vec::new(),
    });
}

fn read_options(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let mut unknown: Vec<String> = Vec::new();
    let mut asks_for_certificate = false;
    for option in options(label.value) {
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
            | (BindOption::Needless, _) => {}
            (BindOption::ClientCertificate, _) => asks_for_certificate = true,
            (BindOption::Unknown(option), _) => unknown.push(option),
        }
    }
    if asks_for_certificate {
        draft.note(
            label,
            Reason::UnsupportedGuard,
            "the service port is not opened: a client certificate is asked for, which is not \
             supported yet"
                .into(),
            "let the app itself check its clients and remove the option, or keep the app on \
             marathon-lb",
        );
        draft.listener.is_left_out = true;
    }
    if !unknown.is_empty() {
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
