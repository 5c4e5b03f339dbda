//! The text of an error with its causes, which many libraries leave out of their own.

use std::error::Error;

/// The text of an error, followed by those of its causes that say something new.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failure(&'static str, #[source] Option<Box<Failure>>);

    #[test]
    fn causes_follow_and_none_is_repeated() {
        let cause = |text, cause| Some(Box::new(Failure(text, cause)));
        let error = Failure("a", cause("b", cause("b", cause("c", None))));
        assert_eq!(with_causes(&error), "a: b: c");
    }
}
