//! Changes of the headers of requests and responses.

/// A change of a header. Not `Host`, and none that begins with a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChange {
    /// Name of the header: a token ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-5.1)).
    pub name: String,
    /// The new value; none: the header is removed.
    pub value: Option<HeaderText>,
    /// True if the value replaces others, false if it stands beside them.
    pub replaces: bool,
}

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// This text: printable ASCII and spaces.
    Text(String),
    /// The client's address.
    ClientAddress,
    /// The host that the client asked for.
    RequestedHost,
}

/// The longest value of a header, in bytes. Proxies take up to 16 KiB.
const LONGEST_VALUE_BYTES: usize = 4_096;

/// The longest name of a header, in bytes.
const LONGEST_NAME_BYTES: usize = 256;

impl HeaderChange {
    /// Bytes of its name and its value.
    pub fn text_bytes(&self) -> usize {
        let value = match &self.value {
            Some(HeaderText::Text(text)) => text.len(),
            Some(HeaderText::ClientAddress | HeaderText::RequestedHost) | None => 0,
        };
        self.name.len() + value
    }

    /// The change of a header; none if its name is no token, or one that stands for the host.
    pub fn new(name: &str, value: Option<HeaderText>, replaces: bool) -> Option<Self> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        let is_name = is_name && name.len() <= LONGEST_NAME_BYTES;
        (is_name && !name.eq_ignore_ascii_case("host")).then(|| Self {
            name: name.to_owned(),
            value,
            replaces,
        })
    }
}

impl HeaderText {
    /// This text as a value; none if a header cannot have it.
    pub fn text(value: &str) -> Option<Self> {
        let is_printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let fits = value.len() <= LONGEST_VALUE_BYTES && value.bytes().all(is_printable);
        fits.then(|| Self::Text(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_header_can_have_is_a_change() {
        let removed = |name| HeaderChange::new(name, None, true);
        assert!(removed("X-A_b.c").is_some());
        for name in ["", "a b", ":path", "host", "HOST", "a\n", "\u{e9}", "a:"] {
            assert_eq!(removed(name), None, "{name}");
        }
        assert_eq!(removed(&"a".repeat(257)), None);
        assert!(HeaderText::text("a \"b\" 100%").is_some());
        for value in ["a\nb", "\u{e9}", "\t"] {
            assert_eq!(HeaderText::text(value), None, "{value}");
        }
        assert_eq!(HeaderText::text(&"a".repeat(4_097)), None);
    }
}
