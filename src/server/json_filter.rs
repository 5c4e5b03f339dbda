//! Streaming filter that drops members nobody reads from a JSON document as it arrives.
//!
//! Envoy's poll has 77 kB, nearly all of it the names of its extensions. A proxy with ten thousand
//! clusters sends ten thousand polls at once over one connection, interleaved: buffered whole until
//! they are complete, these would be 770 MB.

use memchr::memchr2;

/// Streaming filter that replaces the values of members with one name by `null`, at any depth.
/// Input that is not JSON yields output that is not JSON either.
#[derive(Debug)]
pub(super) struct JsonMemberFilter {
    /// The name, with its quotes.
    name: &'static [u8],
    /// Number of open brackets.
    depth: usize,
    place: JsonPlace,
    /// Depth of the object that holds the value being dropped.
    leaving_out: Option<usize>,
    /// Bytes of `name` that the last string matched so far; none if it differs.
    matched: Option<usize>,
}

/// Position in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonPlace {
    Outside,
    String {
        is_escaped: bool,
    },
    /// After a string, which a colon makes a member's name.
    AfterString,
    /// After the colon of a member that is dropped.
    BeforeValue,
}

impl JsonMemberFilter {
    /// A filter for members with this name, given with its quotes.
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name: name.as_bytes(),
            depth: 0,
            place: JsonPlace::Outside,
            leaving_out: None,
            matched: None,
        }
    }

    /// Filters the next bytes into `kept`.
    pub(super) fn push(&mut self, bytes: &[u8], kept: &mut Vec<u8>) {
        let mut left = bytes;
        while let Some((&byte, after)) = left.split_first() {
            let plain = self.plain_bytes(left);
            if plain > 0 {
                let (plain, after) = left.split_at(plain);
                if self.leaving_out.is_none() {
                    kept.extend_from_slice(plain);
                }
                left = after;
                continue;
            }
            self.push_one(byte, kept);
            left = after;
        }
    }

    /// Number of bytes at the front that change nothing but are within a string: nearly all of a
    /// dropped value. None of a string that may yet be the name.
    fn plain_bytes(&self, bytes: &[u8]) -> usize {
        let within = JsonPlace::String { is_escaped: false };
        if self.place != within || self.matched.is_some() {
            return 0;
        }
        memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())
    }

    fn push_one(&mut self, byte: u8, kept: &mut Vec<u8>) {
        let was_left_out = self.leaving_out;
        self.step(byte);
        match (was_left_out, self.leaving_out) {
            (None, None) => kept.push(byte),
            (None, Some(_)) => kept.extend_from_slice(b":null"),
            (Some(around), None) => {
                // A bracket or comma of the enclosing value ends the dropped one and is kept;
                // the value's own last bracket or quote is dropped with it.
                if self.depth < around || byte == b',' {
                    kept.push(byte);
                }
            }
            (Some(_), Some(_)) => {}
        }
    }

    fn step(&mut self, byte: u8) {
        match self.place {
            JsonPlace::String { is_escaped } => self.in_string(byte, is_escaped),
            JsonPlace::Outside | JsonPlace::AfterString | JsonPlace::BeforeValue => {
                self.outside(byte);
            }
        }
    }

    fn in_string(&mut self, byte: u8, is_escaped: bool) {
        let next = self.matched.and_then(|matched| self.name.get(matched));
        self.matched = self.matched.filter(|_| next == Some(&byte)).map(|n| n + 1);
        self.place = match byte {
            b'"' if !is_escaped => JsonPlace::AfterString,
            b'\\' => JsonPlace::String {
                is_escaped: !is_escaped,
            },
            _ => JsonPlace::String { is_escaped: false },
        };
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                // The names of members within a dropped value do not matter.
                self.matched = self.leaving_out.is_none().then_some(1);
                self.place = JsonPlace::String { is_escaped: false };
            }
            b'[' | b'{' => {
                self.depth += 1;
                self.place = JsonPlace::Outside;
            }
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                self.place = JsonPlace::Outside;
                self.end_value(b']');
            }
            b',' => {
                self.place = JsonPlace::Outside;
                self.end_value(b',');
            }
            b':' if self.place == JsonPlace::AfterString && self.is_named() => {
                self.place = JsonPlace::BeforeValue;
                if self.leaving_out.is_none() {
                    self.leaving_out = Some(self.depth);
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.place = JsonPlace::Outside,
        }
    }

    fn is_named(&self) -> bool {
        self.matched == Some(self.name.len())
    }

    /// Ends the dropped value if this byte does: a comma beside it, or a bracket around it.
    fn end_value(&mut self, byte: u8) {
        let ends = |around| self.depth < around || (byte == b',' && self.depth == around);
        if self.leaving_out.is_some_and(ends) {
            self.leaving_out = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn sifted(text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let (mut filter, mut kept) = (JsonMemberFilter::new("\"extensions\""), Vec::new());
        for cut in cuts.windows(2) {
            filter.push(&text[cut[0]..cut[1]], &mut kept);
        }
        kept
    }

    /// The same by a parser.
    fn without(value: Value) -> Value {
        match value {
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| match &*name {
                    "extensions" => (name, Value::Null),
                    _ => (name, without(value)),
                })
                .collect(),
            Value::Array(values) => values.into_iter().map(without).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = "(extensions|\\PC{0,4}|[\"\\\\:,{}\\[\\]]{0,3})";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_left_is_what_a_parser_would_leave_wherever_it_is_cut(
            value in any_json(),
            pretty in any::<bool>(),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let text = if pretty {
                serde_json::to_vec_pretty(&value).unwrap()
            } else {
                serde_json::to_vec(&value).unwrap()
            };
            let left: Value = serde_json::from_slice(&sifted(&text, &cuts)).unwrap();
            prop_assert_eq!(left, without(value));
        }

        #[test]
        fn what_holds_no_such_member_is_kept_byte_for_byte(text in "[^e]{0,64}") {
            prop_assert_eq!(sifted(text.as_bytes(), &[]), text.as_bytes());
        }
    }

    #[test]
    fn of_envoys_poll_little_is_left() {
        let extensions = vec![json!({ "name": "envoy.filters.http.router" }); 516];
        let node = json!({ "id": "edge", "extensions": extensions, "cluster": "c" });
        let poll = json!({ "node": node, "resource_names": ["a"] }).to_string();
        let left = sifted(poll.as_bytes(), &[]);
        assert!(poll.len() > 15_000 && left.len() < 100, "{}", left.len());
    }
}
