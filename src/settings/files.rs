//! Files that settings name.

use std::path::{Path, PathBuf};

use super::bad_setting::BadSetting;

/// Returns the path of a setting; none if it is unset or empty.
pub(super) fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// Reads a small file as text.
///
/// # Errors
///
/// The reason for which it cannot be read, in words.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    // A pipe would be waited for, and could not be read again.
    if !metadata.is_file() {
        return Err("it cannot be read (it is no regular file)".to_owned());
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> String {
    format!("it cannot be read ({error})")
}

/// Returns the path of a readable PEM file that holds such a block.
///
/// # Errors
///
/// When it cannot be read or holds none.
pub(super) fn pem_file(
    variable: &'static str,
    path: &Path,
    block: &str,
) -> Result<PathBuf, BadSetting> {
    let bad = |why: String| BadSetting {
        variable,
        value: path.display().to_string(),
        why,
        remedy: "name a PEM file that this user may read",
    };
    let text = read(path).map_err(bad)?;
    if !text.contains(&format!("{block}-----")) {
        return Err(bad(format!("there is no {block} in it")));
    }
    Ok(path.to_owned())
}
