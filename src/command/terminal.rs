//! Safe display of untrusted text on a terminal.

use std::fmt::{self, Write};

/// A wrapper that escapes control characters when displayed.
///
/// On a terminal, control characters could move the cursor, recolour earlier lines, or reverse the text direction.
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(formatter), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| self.write_char(char))
    }

    fn write_char(&mut self, char: char) -> fmt::Result {
        // C0, DEL and C1, plus direction marks, direction overrides and line separators.
        let is_unsafe = char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_unsafe { write!(self.0, "{}", char.escape_unicode()) } else { self.0.write_char(char) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        for (text, shown) in [
            ("Ünïcode 😀 \\n", "Ünïcode 😀 \\n"),
            ("\x1b[2J", "\\u{1b}[2J"),
            ("a\nb\r\t\0\x7f", "a\\u{a}b\\u{d}\\u{9}\\u{0}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }
}
