//! Labels that restrict who may reach an app.

use crate::intent::{IpNetwork, Login, PasswordHash, UnusableHash};
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};
use crate::state::problem::quoted;

pub(crate) const FAMILY: Family = Family {
    title: "Access",
    labels: &[
        Label::of_port(
            "AUTH",
            ValueKind::Text,
            Support::served(read_login),
            "realm, user and password hash, with colons between them, of a login by HTTP Basic; \
             with a value that cannot be read the port gets no requests",
        ),
        Label::of_port(
            "BACKEND_NETWORK_ALLOWED_ACL",
            ValueKind::List,
            Support::served(read_networks),
            "addresses and networks from which clients may come, separated by spaces; with a value that \
             cannot be read the port gets no requests",
        ),
    ],
};

fn read_login(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match login(label.value, draft.config.ports.ask_for_logins) {
        Ok(login) => draft.route.login = Some(Box::new(label.asks_for(login))),
        Err((why, remedy)) => draft.close(label, &why, remedy),
    }
}

/// The login that a value says; or the fault, which repeats nothing of the value, and its remedy.
fn login(value: &str, is_everywhere: bool) -> Result<Login, (String, &'static str)> {
    let parts: Vec<&str> = value.split(':').map(str::trim).collect();
    let [realm, user, password] = *parts.as_slice() else {
        let count = parts.len();
        let why =
            format!("a login has three parts with colons between them, and this one has {count}");
        return Err((
            why,
            "write it as in realm:user:hash, without further colons",
        ));
    };
    if user.is_empty() {
        return Err((
            "the login names no user".into(),
            "write it as in realm:user:hash",
        ));
    }
    if [realm, user]
        .iter()
        .any(|part| part.contains(char::is_control))
    {
        return Err((
            "the login has a control character in its realm or user".into(),
            "remove line breaks, tabs and other control characters",
        ));
    }
    let password = PasswordHash::new(password).map_err(|why| {
        let remedy = match why {
            UnusableHash::UnknownScheme | UnusableHash::Malformed => {
                "hash the password with `openssl passwd -6`; $1$, $apr1$, $5$, $6$, $2y$ and {SHA} \
                 are read"
            }
            UnusableHash::TooCostly => {
                "hash the password with at most 1,000,000 rounds, or a bcrypt cost of at most 14"
            }
        };
        (format!("its login cannot be checked: {why}"), remedy)
    })?;
    Ok(Login {
        realm: realm.to_owned(),
        is_everywhere,
        user: user.to_owned(),
        password,
    })
}

fn read_networks(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let mut networks = Vec::new();
    for word in label.value.split_whitespace() {
        let Some(network) = IpNetwork::parse(word) else {
            let why = format!("{} is neither an address nor a network", quoted(word));
            draft.close(label, &why, NETWORKS_REMEDY);
            return;
        };
        networks.push(network);
    }
    if networks.is_empty() {
        draft.close(label, "it allows nobody", NETWORKS_REMEDY);
        return;
    }
    networks.sort_unstable();
    networks.dedup();
    draft.treatment().allowed_networks = Some(label.asks_for(networks));
}

const NETWORKS_REMEDY: &str =
    "list addresses and networks as in 10.1.40.0/24 192.0.2.7, with spaces between them";
