//! A page of the manual, taken apart: headings, links, code.

use std::collections::{BTreeMap, BTreeSet};

/// A page of the manual.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A link to a file of the repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// As it is written.
    pub(crate) text: String,
    /// The path in the repository that it leads to.
    pub(crate) file: String,
    /// The heading there.
    pub(crate) anchor: Option<String>,
}

/// A piece of code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Between backticks, in a line of prose.
    Span(String),
    /// A line of a block between fences. One that ends with a backslash, or within quotation marks,
    /// goes on in the next.
    Line(String),
}

/// A line, and whether it stands between fences.
enum Line<'a> {
    Prose(&'a str),
    Fenced(&'a str),
}

impl Page {
    pub(crate) fn new(path: String, text: String) -> Self {
        Self { path, text }
    }

    /// The lines without the fences themselves. Fences may be indented, as in lists.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        let mut is_fenced = false;
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                is_fenced = !is_fenced;
            } else if is_fenced {
                lines.push(Line::Fenced(line));
            } else {
                lines.push(Line::Prose(line));
            }
        }
        assert!(!is_fenced, "{}: a block of code does not end", self.path);
        lines
    }

    /// The headings: what each is called in links, as GitHub makes it, how deep it is, and the
    /// position of its line.
    fn headings(&self) -> Vec<(String, usize, usize)> {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        let mut headings = Vec::new();
        for (position, line) in self.lines().iter().enumerate() {
            let Line::Prose(line) = line else { continue };
            let title = line.trim_start_matches('#');
            let depth = line.len() - title.len();
            if depth == 0 || !title.starts_with(' ') {
                continue;
            }
            let plain = without_targets(title.trim());
            let kept = plain.to_lowercase();
            let kept = kept.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                _ => c.is_alphanumeric().then_some(c),
            });
            let anchor: String = kept.collect();
            let before = count.entry(anchor.clone()).or_default();
            let unique = match *before {
                0 => anchor,
                before => format!("{anchor}-{before}"),
            };
            headings.push((unique, depth, position));
            *before += 1;
        }
        headings
    }

    /// What the headings are called in links.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let headings = self.headings().into_iter();
        headings.map(|(anchor, _, _)| anchor).collect()
    }

    /// The prose below a heading, up to the next one that is not deeper.
    pub(crate) fn section(&self, anchor: &str) -> Option<String> {
        let headings = self.headings();
        let mut rest = headings.iter().skip_while(|(found, _, _)| found != anchor);
        let (_, depth, begin) = rest.next()?;
        let end = rest.find(|(_, other, _)| other <= depth);
        let lines = self.lines();
        let end = end.map_or(lines.len(), |(_, _, position)| *position);
        let prose = lines[*begin..end].iter().filter_map(|line| match line {
            Line::Prose(line) => Some(*line),
            Line::Fenced(_) => None,
        });
        Some(prose.collect::<Vec<_>>().join("\n"))
    }

    /// The links to files of the repository; those to other places are left out.
    pub(crate) fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for line in self.lines() {
            let Line::Prose(line) = line else { continue };
            let prose = without_spans(line);
            let targets = prose.split("](").skip(1);
            for target in targets.filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") {
                    continue;
                }
                let (file, anchor) = match target.split_once('#') {
                    Some((file, anchor)) => (file, Some(anchor.to_owned())),
                    None => (target, None),
                };
                links.push(Link {
                    text: target.to_owned(),
                    file: self.resolved(file),
                    anchor,
                });
            }
        }
        links
    }

    /// The path in the repository of a relative one; nothing is this page.
    fn resolved(&self, relative: &str) -> String {
        if relative.is_empty() {
            return self.path.clone();
        }
        let folder = self.path.rsplit_once('/').map(|(folder, _)| folder);
        let mut parts: Vec<&str> = folder.into_iter().flat_map(|f| f.split('/')).collect();
        for part in relative.split('/') {
            match part {
                ".." => {
                    let above = parts.pop();
                    assert!(above.is_some(), "{}: {relative} is outside", self.path);
                }
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    /// Every piece of code.
    pub(crate) fn code(&self) -> Vec<Code> {
        let mut code = Vec::new();
        let mut open = String::new();
        for line in self.lines() {
            match line {
                Line::Prose(line) => code.extend(spans(line).map(|s| Code::Span(s.to_owned()))),
                Line::Fenced(line) => {
                    let (part, goes_on) = match line.strip_suffix('\\') {
                        Some(part) => (part, true),
                        None => (line, false),
                    };
                    open.push_str(part);
                    if goes_on || open.matches('"').count() % 2 == 1 {
                        open.push(' ');
                    } else {
                        code.push(Code::Line(std::mem::take(&mut open)));
                    }
                }
            }
        }
        assert!(open.is_empty(), "{}: a command does not end", self.path);
        code
    }
}

/// What stands between backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The line with nothing between its backticks.
fn without_spans(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The text with each link replaced by what a reader sees of it.
fn without_targets(text: &str) -> String {
    let mut parts = text.split("](");
    let mut seen = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        seen.push_str(part.split_once(')').map_or("", |(_, after)| after));
    }
    seen
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# One `two`: three\n\nSee [`a](b`](../x/y.md#z-1) and [here](#four).\n\n\
                1. As in\n\n   ```console\n   run --one \\\n       --two\n   x=\"a\n   b\"\n   ```\n\n\
                ## Four\n\n## Four\n\n[out](https://example.com/#a)\n";
    let page = Page::new("docs/page.md".into(), text.into());
    let anchors: Vec<_> = page.anchors().into_iter().collect();
    assert_eq!(anchors, ["four", "four-1", "one-two-three"]);
    let link = |text: &str, file: &str, anchor: &str| Link {
        text: text.into(),
        file: file.into(),
        anchor: Some(anchor.into()),
    };
    assert_eq!(
        page.links(),
        [
            link("../x/y.md#z-1", "x/y.md", "z-1"),
            link("#four", "docs/page.md", "four")
        ]
    );
    assert_eq!(
        page.code(),
        [
            Code::Span("two".into()),
            Code::Span("a](b".into()),
            Code::Line("   run --one         --two".into()),
            Code::Line("   x=\"a    b\"".into()),
        ]
    );
}
