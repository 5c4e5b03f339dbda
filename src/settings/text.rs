//! Texts of settings.

/// Returns true if a header can hold the text: visible ASCII.
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the trimmed text of a setting; none if it is unset or empty.
pub(super) fn filled(text: &Option<String>) -> Option<String> {
    let text = text.as_deref().map(str::trim);
    text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}
