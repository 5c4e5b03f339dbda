//! Regular expressions that every proxy takes: a bad one would make it refuse the routes of others.

use std::fmt;

use regex_syntax::ast::{
    Ast, ClassSet, ClassSetItem, Flag, Flags, FlagsItemKind, GroupKind, LiteralKind,
    RepetitionKind, RepetitionRange, parse::Parser,
};

/// A regular expression, matched in either case, in the part of
/// [RE2's syntax](https://github.com/google/re2/wiki/Syntax) that all its versions read alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Reasons for which a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusablePattern {
    /// Not a regular expression, or one with parts that proxies may not read.
    #[error("it is no regular expression that proxies understand")]
    Syntax,
    /// Compiled, it may exceed the size that proxies allow.
    #[error("it is longer than proxies allow")]
    TooLarge,
}

/// The longest text that is read, in bytes.
const LONGEST_BYTES: usize = 512;

/// The largest estimate of a compiled pattern. Envoy refuses a [program size above
/// 100](https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/regex.proto), and what is
/// put around a pattern takes a few.
const LARGEST_PROGRAM: u64 = 88;

impl Pattern {
    /// Reads a regular expression.
    ///
    /// # Errors
    ///
    /// When a proxy might refuse it, or read it differently.
    pub fn parse(text: &str) -> Result<Self, UnusablePattern> {
        if text.len() > LONGEST_BYTES {
            return Err(UnusablePattern::TooLarge);
        }
        let ast = Parser::new()
            .parse(text)
            .map_err(|_| UnusablePattern::Syntax)?;
        match program(&ast).ok_or(UnusablePattern::Syntax)? {
            ..=LARGEST_PROGRAM => Ok(Self(text.to_owned())),
            _ => Err(UnusablePattern::TooLarge),
        }
    }

    /// The pattern of texts in which a regular expression is found.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse).
    pub fn search(text: &str) -> Result<Self, UnusablePattern> {
        Self::parse(text)?;
        Self::parse(&format!(".*(?:{text}).*"))
    }

    /// The pattern that matches this text alone.
    ///
    /// # Errors
    ///
    /// When the text is too long.
    pub fn literal(text: &str) -> Result<Self, UnusablePattern> {
        Self::parse(&regex_syntax::escape(text))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An upper bound of the number of instructions that RE2 makes of this part, in Envoy 1.36 (which
/// makes the most); none for a part that it may not read, or read differently.
fn program(ast: &Ast) -> Option<u64> {
    match ast {
        Ast::Empty(_) => Some(1),
        Ast::Flags(flags) => understood(&flags.flags).then_some(0),
        Ast::Literal(literal) => match literal.kind {
            LiteralKind::Verbatim | LiteralKind::Meta | LiteralKind::Superfluous => {
                Some(of_char(literal.c))
            }
            LiteralKind::Octal
            | LiteralKind::HexFixed(_)
            | LiteralKind::HexBrace(_)
            | LiteralKind::Special(_) => None,
        },
        Ast::Dot(_) => Some(9),
        Ast::ClassPerl(class) => Some(if class.negated { 32 } else { 8 }),
        Ast::ClassUnicode(_) => None,
        Ast::ClassBracketed(class) => {
            let ClassSet::Item(item) = &class.kind else {
                return None;
            };
            let items = of_class(item)?;
            Some(match class.negated {
                false => items,
                // Letters cut the characters outside ASCII that have their other case.
                true if has_letters(item) => 2 * items + 28,
                true => 2 * items + 10,
            })
        }
        Ast::Assertion(assertion) => {
            use regex_syntax::ast::AssertionKind::{
                EndLine, EndText, NotWordBoundary, StartLine, StartText, WordBoundary,
            };
            let known = matches!(
                assertion.kind,
                StartLine | EndLine | StartText | EndText | WordBoundary | NotWordBoundary
            );
            known.then_some(1)
        }
        Ast::Repetition(repetition) => {
            let repeats_more = matches!(
                *repetition.ast,
                Ast::Repetition(_) | Ast::Assertion(_) | Ast::Flags(_) | Ast::Empty(_)
            );
            let once = program(&repetition.ast).filter(|_| !repeats_more)?;
            let times = match &repetition.op.kind {
                RepetitionKind::ZeroOrOne
                | RepetitionKind::ZeroOrMore
                | RepetitionKind::OneOrMore => 1,
                RepetitionKind::Range(
                    RepetitionRange::Exactly(count) | RepetitionRange::AtLeast(count),
                ) => *count + 1,
                RepetitionKind::Range(RepetitionRange::Bounded(_, most)) => *most + 1,
            };
            Some((once + 2).saturating_mul(times.into()))
        }
        Ast::Group(group) => {
            let understood = match &group.kind {
                GroupKind::CaptureIndex(_) => true,
                GroupKind::CaptureName { .. } => false,
                GroupKind::NonCapturing(flags) => understood(flags),
            };
            program(&group.ast).filter(|_| understood).map(|of| of + 2)
        }
        Ast::Alternation(alternation) => sum(&alternation.asts, 1),
        Ast::Concat(concat) => sum(&concat.asts, 0),
    }
}

fn sum(asts: &[Ast], each: u64) -> Option<u64> {
    let mut parts = asts.iter();
    parts.try_fold(0, |sum: u64, ast| {
        Some(sum.saturating_add(program(ast)?).saturating_add(each))
    })
}

/// Instructions of a character in either case: `k` and `s` have forms outside ASCII.
fn of_char(c: char) -> u64 {
    match c {
        'k' | 'K' | 's' | 'S' => 4,
        _ if c.is_ascii() => 1,
        _ => 8,
    }
}

fn of_class(item: &ClassSetItem) -> Option<u64> {
    match item {
        ClassSetItem::Empty(_) => Some(0),
        ClassSetItem::Literal(literal) => literal.c.is_ascii().then(|| of_char(literal.c) + 1),
        ClassSetItem::Range(range) => {
            let of_ascii = range.start.c.is_ascii() && range.end.c.is_ascii();
            of_ascii.then_some(8)
        }
        ClassSetItem::Ascii(class) => (!class.negated).then_some(8),
        ClassSetItem::Perl(class) => (!class.negated).then_some(8),
        ClassSetItem::Union(union) => {
            let mut items = union.items.iter();
            items.try_fold(0, |sum, item| Some(sum + of_class(item)?))
        }
        // RE2 reads a bracket in brackets as a character.
        ClassSetItem::Unicode(_) | ClassSetItem::Bracketed(_) => None,
    }
}

/// True if a class may contain letters.
fn has_letters(item: &ClassSetItem) -> bool {
    match item {
        ClassSetItem::Literal(literal) => literal.c.is_alphabetic(),
        ClassSetItem::Empty(_) => false,
        ClassSetItem::Union(union) => union.items.iter().any(has_letters),
        ClassSetItem::Range(_)
        | ClassSetItem::Ascii(_)
        | ClassSetItem::Perl(_)
        | ClassSetItem::Unicode(_)
        | ClassSetItem::Bracketed(_) => true,
    }
}

/// True for flags that RE2 has, and that change nothing in how the text is read.
fn understood(flags: &Flags) -> bool {
    flags.items.iter().all(|item| match item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => matches!(flag, Flag::CaseInsensitive),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_expressions_are_patterns() {
        for text in [
            "/api",
            "/api/",
            "/v1.0",
            "/(a|bc)/[^/]+",
            "/[^/]+/[^/]+/[^?/]+",
            "/a-b_c~d",
            "^/x$",
            "/[a-z0-9]*",
            r"/\d{1,3}",
            r"/a\.b\-c",
            "/é",
            "/x(?:y|z)?",
            "",
            "(?i)/x",
        ] {
            assert_eq!(
                Pattern::parse(text).map(|it| it.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(Pattern::literal("/a(b").unwrap().to_string(), r"/a\(b");
    }

    #[test]
    fn what_a_proxy_may_refuse_or_read_differently_is_none() {
        for text in [
            "(",
            "/a(?=b)",
            "(?<n>a)",
            "a**",
            "a{1,2}{3}",
            "^*",
            r"\pL",
            "[a&&b]",
            "[[a]]",
            r"\x41",
            "(?x)a b",
            r"\1",
            r"\b{start}",
            "(?R)a",
            "[é]",
        ] {
            assert_eq!(Pattern::parse(text), Err(UnusablePattern::Syntax), "{text}");
        }
        for text in [
            "a{1001}",
            "(a{100}){100}",
            &"x".repeat(600),
            &"k".repeat(30),
            &".".repeat(20),
            &r"\W".repeat(3),
            &"[^a-z]".repeat(3),
        ] {
            assert_eq!(
                Pattern::parse(text),
                Err(UnusablePattern::TooLarge),
                "{text}"
            );
        }
    }
}
