//! Shows the demo as it goes on: a table that is redrawn in a terminal, plain lines elsewhere.

use std::io::{self, Write};

use sim::scenario::{Display, Summary, View};

use super::table::{Line, Tone, sentence, summary, table};

/// Steps that a terminal shows at once: with the lines above and below they fit the 24 lines of the
/// smallest usual one, and what has scrolled away cannot be redrawn.
const SHOWN_STEPS: usize = 9;

/// No line breaks of the terminal's own, which would spoil the count of lines, and no cursor.
const BEGIN: &str = "\x1b[?7l\x1b[?25l";

/// Undoes [`BEGIN`].
const END: &str = "\x1b[?7h\x1b[?25h";

/// The way of showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A table that is redrawn in place.
    Terminal {
        /// True: with colours.
        colours: bool,
    },
    /// A line for each step once it is settled.
    Lines,
}

impl Mode {
    /// The mode for an output that is a terminal or not ([`std::io::IsTerminal`]). `term` and
    /// `no_color` are the environment's `TERM` and `NO_COLOR`.
    pub fn of(is_terminal: bool, term: Option<&str>, no_color: Option<&str>) -> Self {
        let moves = term.is_some_and(|term| term != "dumb");
        if is_terminal && moves {
            Self::Terminal {
                colours: no_color.is_none_or(str::is_empty),
            }
        } else {
            Self::Lines
        }
    }
}

/// The output of the demo. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub struct Screen<W: Write> {
    output: W,
    mode: Mode,
    /// Terminal: the lines of the last frame, which the next one replaces.
    drawn_lines: usize,
    /// Lines: true once the heading was written.
    heading_written: bool,
    /// Lines: true for each step that was written.
    steps_written: Vec<bool>,
}

impl<W: Write> Screen<W> {
    /// A screen on `output`, on which nobody else may write until it is dropped.
    pub fn new(output: W, mode: Mode) -> Self {
        Self {
            output,
            mode,
            drawn_lines: 0,
            heading_written: false,
            steps_written: Vec::new(),
        }
    }

    /// Writes one frame over the last one, in one piece so that nothing flickers.
    fn redraw(&mut self, lines: &[Line], colours: bool) -> io::Result<()> {
        let mut frame = String::new();
        match self.mode {
            Mode::Terminal { .. } => {
                frame.push_str(BEGIN);
                if self.drawn_lines > 0 {
                    // Up to the first line of the last frame, and away with all from there on.
                    frame.push_str(&format!("\x1b[{}F\x1b[J", self.drawn_lines));
                }
            }
            Mode::Lines => {}
        }
        for line in lines {
            match colour(line.tone).filter(|_| colours) {
                Some(colour) => frame.push_str(&format!("{colour}{}\x1b[0m\n", line.text)),
                None => frame.push_str(&format!("{}\n", line.text)),
            }
        }
        self.output.write_all(frame.as_bytes())?;
        self.drawn_lines = lines.len();
        self.output.flush()
    }

    fn write(&mut self, view: &View) -> io::Result<()> {
        if !self.heading_written {
            self.heading_written = true;
            for line in plain(&view.heading) {
                writeln!(self.output, "{}", line.text)?;
            }
        }
        self.steps_written.resize(view.steps.len(), false);
        for (step, written) in view.steps.iter().zip(&mut self.steps_written) {
            if step.is_settled() && !*written {
                *written = true;
                writeln!(self.output, "{}", sentence(step).text)?;
            }
        }
        self.output.flush()
    }
}

impl<W: Write> Display for Screen<W> {
    fn show(&mut self, view: &View) -> io::Result<()> {
        match self.mode {
            Mode::Terminal { colours } => {
                let mut lines = plain(&view.heading);
                let hidden = view.steps.len().saturating_sub(SHOWN_STEPS);
                let shown = view.steps.get(hidden..).unwrap_or_default();
                if !shown.is_empty() {
                    lines.extend(table(shown));
                }
                if hidden > 0 {
                    let text = format!("({hidden} earlier steps)");
                    lines.push(Line::new(&text, Tone::Pending));
                }
                lines.push(Line::new(&view.status, Tone::Plain));
                self.redraw(&lines, colours)
            }
            Mode::Lines => self.write(view),
        }
    }

    /// In a terminal shows all steps in place of the table, elsewhere a table after the lines; and
    /// below it their summary.
    fn finish(mut self, view: &View) -> io::Result<()> {
        let mut lines = Vec::new();
        let colours = match self.mode {
            Mode::Terminal { colours } => {
                lines.extend(plain(&view.heading));
                colours
            }
            Mode::Lines => {
                self.write(view)?;
                lines.push(Line::new("", Tone::Plain));
                false
            }
        };
        lines.extend(table(&view.steps));
        lines.push(Line::new("", Tone::Plain));
        lines.extend(summary(&Summary::of(&view.steps)));
        self.redraw(&lines, colours)
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if matches!(self.mode, Mode::Terminal { .. }) {
            // There is nobody left to tell when the terminal is gone.
            let _ = self.output.write_all(END.as_bytes());
            let _ = self.output.flush();
        }
    }
}

fn plain(texts: &[String]) -> Vec<Line> {
    texts
        .iter()
        .map(|text| Line::new(text, Tone::Plain))
        .collect()
}

fn colour(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Heading => Some("\x1b[1m"),
        Tone::Pending => Some("\x1b[2m"),
        Tone::Good => Some("\x1b[32m"),
        Tone::Bad => Some("\x1b[31m"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sim::scenario::{Counts, Live, Step};

    use super::*;

    fn step(name: &str, live: Live) -> Step {
        Step {
            name: name.to_owned(),
            change: "/web".to_owned(),
            live,
            sent: 10,
            failed: 0,
            counts: Counts::Fully,
        }
    }

    fn live() -> Live {
        Live::After(vec![Duration::from_millis(3)])
    }

    fn text(output: &[u8]) -> String {
        String::from_utf8(output.to_vec()).unwrap()
    }

    /// The lines of a terminal after `output`: as much of one as the screen makes use of.
    fn shown(output: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut rest = output;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            if c == '\n' {
                lines.push(String::new());
            } else if let Some(sequence) = rest.strip_prefix('[').filter(|_| c == '\x1b') {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                if &sequence[end..=end] == "F" {
                    let up: usize = sequence[..end].parse().unwrap();
                    lines.truncate(lines.len() - up);
                    *lines.last_mut().unwrap() = String::new();
                }
                rest = &sequence[end + 1..];
            } else {
                lines.last_mut().unwrap().push(c);
            }
        }
        lines
    }

    #[test]
    fn a_terminal_shows_the_last_frame_only_and_is_given_back() {
        let mut output = Vec::new();
        let mut screen = Screen::new(&mut output, Mode::Terminal { colours: true });
        let mut view = View {
            heading: vec!["http://127.0.0.1:8080".to_owned()],
            steps: vec![step("deploy", Live::Pending)],
            status: "10 requests/s".to_owned(),
        };
        screen.show(&view).unwrap();
        view.steps = vec![step("deploy", live()), step("scale", Live::Pending)];
        view.status = "11 requests/s".to_owned();
        screen.show(&view).unwrap();
        drop(screen);
        let output = text(&output);
        assert!(output.starts_with(BEGIN));
        assert!(output.ends_with(END));
        assert!(output.contains("\x1b[32mdeploy"));
        let shown = shown(&output);
        assert_eq!(shown.len(), 6, "{shown:#?}");
        assert_eq!(shown[0], "http://127.0.0.1:8080");
        assert!(shown[2].contains("3.0 ms"));
        assert!(shown[3].contains("..."));
        assert_eq!(shown[4], "11 requests/s");
    }

    #[test]
    fn a_terminal_shows_the_latest_steps_and_at_the_end_all() {
        let mut output = Vec::new();
        let mut screen = Screen::new(&mut output, Mode::Terminal { colours: false });
        let view = View {
            steps: (0..20)
                .map(|n| step(&format!("step {n}"), live()))
                .collect(),
            ..View::default()
        };
        screen.show(&view).unwrap();
        screen.finish(&view).unwrap();
        let output = text(&output);
        assert!(output.contains("(11 earlier steps)"));
        let shown = shown(&output);
        assert!(!shown.iter().any(|line| line.contains("earlier")));
        assert_eq!(
            shown
                .iter()
                .filter(|line| line.starts_with("step "))
                .count(),
            20 + 1
        );
        assert!(
            shown.contains(&"200 requests sent, 0 lost".to_owned()),
            "{shown:#?}"
        );
    }

    #[test]
    fn lines_say_each_step_once_when_it_is_settled_and_hold_no_escapes() {
        let mut output = Vec::new();
        let mut screen = Screen::new(&mut output, Mode::Lines);
        let mut view = View {
            heading: vec!["http://127.0.0.1:8080".to_owned()],
            steps: vec![step("deploy", Live::Pending), step("scale", live())],
            status: "10 requests/s".to_owned(),
        };
        screen.show(&view).unwrap();
        screen.show(&view).unwrap();
        view.steps[0].live = Live::Unchanged;
        screen.finish(&view).unwrap();
        let output = text(&output);
        assert!(!output.contains('\x1b') && !output.contains("requests/s"));
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "http://127.0.0.1:8080",
                "scale: /web: live after 3.0 ms; 10 sent, 0 failed",
                "deploy: /web: unchanged, as it should be; 10 sent, 0 failed",
                "",
            ]
        );
        assert!(lines[4].starts_with("step "));
        assert_eq!(lines[lines.len() - 1], "20 requests sent, 0 lost");
    }

    #[test]
    fn a_file_or_a_dumb_terminal_gets_lines() {
        let colourful = Mode::Terminal { colours: true };
        let plain = Mode::Terminal { colours: false };
        for (terminal, term, no_color, expected) in [
            (true, Some("xterm"), None, colourful),
            (true, Some("xterm"), Some(""), colourful),
            (true, Some("xterm"), Some("1"), plain),
            (true, Some("dumb"), None, Mode::Lines),
            (true, None, None, Mode::Lines),
            (false, Some("xterm"), None, Mode::Lines),
        ] {
            assert_eq!(Mode::of(terminal, term, no_color), expected);
        }
    }
}
