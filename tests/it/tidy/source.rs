//! Source files, as rustfmt leaves them, without the code for tests.

/// A source file.
pub(super) struct Source {
    /// Path in the repository: `src/files/mod.rs`.
    pub(super) file: String,
    /// Path of the module, without `crate`: `files`; `lib` and `main` for those at the top.
    pub(super) module: String,
    /// Lines with their numbers, without items that are compiled for tests alone.
    pub(super) lines: Vec<(usize, String)>,
    /// Modules in files of their own that are for tests alone.
    test_modules: Vec<String>,
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let path = file.trim_start_matches("src/").trim_end_matches(".rs");
        let module = path.trim_end_matches("/mod").replace('/', "::");
        let (mut kept, mut test_modules) = (Vec::new(), Vec::new());
        let mut lines = (1..).zip(text.lines().map(str::to_owned));
        while let Some((number, line)) = lines.next() {
            let code = line.trim_start();
            if !code.starts_with("#[cfg(test)]") && !code.starts_with("#[cfg(all(test,") {
                kept.push((number, line));
                continue;
            }
            while kept
                .pop_if(|(_, line)| line.trim_start().starts_with("///"))
                .is_some()
            {}
            let indent = line.len() - code.len();
            let is_last = |line: &str| {
                let starts_here = line.len() - line.trim_start().len() == indent;
                starts_here && line.ends_with([';', ',', '}'])
            };
            if let Some((_, last)) = lines.find(|(_, line)| is_last(line))
                && let Some((_, name)) = last.trim_end_matches(';').split_once("mod ")
            {
                test_modules.push(format!("{module}::{name}"));
            }
        }
        let file = file.to_owned();
        Self {
            file,
            module,
            lines: kept,
            test_modules,
        }
    }

    /// Lines of code with their numbers, without indentation and comments.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().filter_map(|(number, line)| {
            let code = line.trim_start().split(" //").next()?;
            Some((*number, code)).filter(|_| !code.starts_with("//"))
        })
    }
}

/// The sources without those that are compiled for tests alone.
pub(super) fn production(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| {
        let mut tests = sources.iter().flat_map(|source| &source.test_modules);
        !tests.any(|test| is_below(&source.module, test))
    })
}

/// True if a path is another or lies below it.
pub(super) fn is_below(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
