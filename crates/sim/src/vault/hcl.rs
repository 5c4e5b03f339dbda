//! The part of HCL that policies are written in: `path "..." { capabilities = ["..."] }`.

use std::iter::Peekable;
use std::str::CharIndices;

/// One `path` block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) path: String,
    pub(super) capabilities: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Reads the blocks of a policy.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, String> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let mut found = Vec::new();
    while let Some((line, token)) = tokens.next() {
        match token {
            Token::Word(word) if word == "path" => found.push(block(&mut tokens, line)?),
            // A policy may name itself; Vault takes the name from the request.
            Token::Word(word) if word == "name" => {
                sign(&mut tokens, '=', line)?;
                quoted(&mut tokens, line)?;
            }
            token @ (Token::Word(_) | Token::Text(_) | Token::Sign(_)) => {
                return Err(unexpected(&token, line));
            }
        }
    }
    Ok(found)
}

type Tokens = Peekable<std::vec::IntoIter<(usize, Token)>>;

fn block(tokens: &mut Tokens, line: usize) -> Result<Statement, String> {
    let path = quoted(tokens, line)?;
    sign(tokens, '{', line)?;
    let mut capabilities = Vec::new();
    loop {
        match tokens.next() {
            Some((_, Token::Sign('}'))) => return Ok(Statement { path, capabilities }),
            Some((line, Token::Word(key))) if key == "capabilities" => {
                sign(tokens, '=', line)?;
                capabilities.extend(list(tokens, line)?);
            }
            Some((line, Token::Word(key))) => {
                return Err(format!("path {path:?}: invalid key {key:?} on line {line}"));
            }
            Some((line, other)) => return Err(unexpected(&other, line)),
            None => {
                return Err(format!(
                    "object expected closing RBRACE got: EOF (from line {line})"
                ));
            }
        }
    }
}

fn list(tokens: &mut Tokens, line: usize) -> Result<Vec<String>, String> {
    sign(tokens, '[', line)?;
    let mut texts = Vec::new();
    loop {
        if tokens
            .next_if(|(_, token)| *token == Token::Sign(']'))
            .is_some()
        {
            return Ok(texts);
        }
        texts.push(quoted(tokens, line)?);
        let more = tokens.next_if(|(_, token)| *token == Token::Sign(','));
        if more.is_none() {
            sign(tokens, ']', line)?;
            return Ok(texts);
        }
    }
}

fn quoted(tokens: &mut Tokens, line: usize) -> Result<String, String> {
    match tokens.next() {
        Some((_, Token::Text(text))) => Ok(text),
        Some((line, other)) => Err(unexpected(&other, line)),
        None => Err(format!(
            "unexpected end after line {line}: a quoted text is missing"
        )),
    }
}

fn sign(tokens: &mut Tokens, wanted: char, line: usize) -> Result<(), String> {
    match tokens.next() {
        Some((_, Token::Sign(sign))) if sign == wanted => Ok(()),
        Some((line, other)) => Err(unexpected(&other, line)),
        None => Err(format!(
            "unexpected end after line {line}: {wanted:?} is missing"
        )),
    }
}

fn unexpected(token: &Token, line: usize) -> String {
    let token = match token {
        Token::Word(word) => word.clone(),
        Token::Text(text) => format!("{text:?}"),
        Token::Sign(sign) => sign.to_string(),
    };
    format!("line {line}: unexpected {token}")
}

/// The tokens of a text, each with its line.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut found = Vec::new();
    let mut signs = text.char_indices().peekable();
    let mut line = 1;
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\n' => line += 1,
            _ if sign.is_whitespace() => {}
            '#' => skip_line(&mut signs),
            '/' => match signs.next().map(|(_, next)| next) {
                Some('/') => skip_line(&mut signs),
                Some('*') => {
                    let rest = text.get(at + 2..).unwrap_or_default();
                    let end = rest
                        .find("*/")
                        .ok_or_else(|| format!("line {line}: the comment does not end"))?;
                    line += rest.get(..end).unwrap_or_default().matches('\n').count();
                    while signs.next_if(|(next, _)| *next < at + 4 + end).is_some() {}
                }
                Some(_) | None => return Err(format!("line {line}: unexpected /")),
            },
            '"' => found.push((line, Token::Text(string(&mut signs, line)?))),
            '{' | '}' | '[' | ']' | '=' | ',' => found.push((line, Token::Sign(sign))),
            _ if sign.is_alphanumeric() || sign == '_' => {
                let mut word = sign.to_string();
                while let Some((_, sign)) =
                    signs.next_if(|(_, sign)| sign.is_alphanumeric() || matches!(sign, '_' | '-'))
                {
                    word.push(sign);
                }
                found.push((line, Token::Word(word)));
            }
            _ => return Err(format!("line {line}: illegal character {sign:?}")),
        }
    }
    Ok(found)
}

fn skip_line(signs: &mut Peekable<CharIndices<'_>>) {
    while signs.next_if(|(_, sign)| *sign != '\n').is_some() {}
}

/// The rest of a text after its first quote.
fn string(signs: &mut Peekable<CharIndices<'_>>, line: usize) -> Result<String, String> {
    let mut text = String::new();
    let unended = || format!("line {line}: literal not terminated");
    loop {
        match signs.next().map(|(_, sign)| sign) {
            Some('"') => return Ok(text),
            Some('\\') => match signs.next().map(|(_, sign)| sign) {
                Some(sign @ ('"' | '\\')) => text.push(sign),
                Some(_) => return Err(format!("line {line}: illegal char escape")),
                None => return Err(unended()),
            },
            Some('\n') | None => return Err(unended()),
            Some(sign) => text.push(sign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_commas_and_lines_are_as_hcl_has_them() {
        let text = "# one\npath \"a/*\" {\n capabilities = [\"read\", \"list\",] // two\n}\n/* three\n */ path \"b\"{capabilities=[]}";
        let read = statements(text).unwrap();
        let paths: Vec<&str> = read.iter().map(|block| block.path.as_str()).collect();
        assert_eq!(paths, ["a/*", "b"]);
        assert_eq!(read[0].capabilities, ["read", "list"]);
        assert!(read[1].capabilities.is_empty());
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_line() {
        for (text, part) in [
            ("path \"a\" {", "RBRACE"),
            ("path \"a\" {}\n}", "line 2"),
            ("path \"a {}", "not terminated"),
            ("path a {}", "unexpected a"),
            (
                "path \"a\" { capabilitys = [\"read\"] }",
                "invalid key \"capabilitys\" on line 1",
            ),
            (
                "path \"a\" { capabilities = [\"read\" \"list\"] }",
                "unexpected \"list\"",
            ),
            ("/* path", "does not end"),
        ] {
            let error = statements(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
