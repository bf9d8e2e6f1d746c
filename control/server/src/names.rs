//! Display names: text that its owner chose and others are shown.

use std::sync::Arc;

use duocast_model::InvalidId;

/// Longest display name, in characters.
pub(crate) const DISPLAY_NAME_CHARS_MAX: usize = 64;

/// Checks and wraps a display name, without the space around it.
///
/// Control characters and those that change the direction of the text around them are refused: a name must not be able to
/// rewrite the line that it stands in.
pub(crate) fn display_name(text: &str) -> Result<Arc<str>, InvalidId> {
    let text = text.trim();
    let misleading = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.is_empty() || text.chars().count() > DISPLAY_NAME_CHARS_MAX || text.chars().any(misleading) {
        return Err(InvalidId {
            what: "display name",
            allowed: "1-64 characters, without control characters and direction marks",
        });
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_letters_and_loses_the_space_around_them() {
        assert_eq!(&*display_name("  Zoë 李 ").unwrap(), "Zoë 李");
        assert_eq!(&*display_name(&"ü".repeat(64)).unwrap(), "ü".repeat(64));
    }

    #[test]
    fn a_name_that_would_mislead_is_refused() {
        for bad in ["", "   ", "two\nlines", "nul\0", "\u{202e}ecila", "a\u{2066}b", &"x".repeat(65)] {
            assert!(display_name(bad).is_err(), "{bad:?}");
        }
    }
}
