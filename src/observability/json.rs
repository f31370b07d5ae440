//! JSON strings for log lines.

use std::io::Write;

/// Writes `text` as a JSON string (RFC 8259, section 7). All control characters are escaped, DEL and C1 included, so that
/// a log line can't drive the terminal that shows it.
pub(super) fn write_string(line: &mut Vec<u8>, text: &str) {
    // C1 characters begin with the byte C2 in UTF-8. Without an early exit the loop is vectorised.
    let is_special = |byte: u8| byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f | 0xc2);
    line.push(b'"');
    if text.bytes().fold(false, |special, byte| special | is_special(byte)) {
        text.chars().for_each(|character| write_escaped(line, character));
    } else {
        line.extend_from_slice(text.as_bytes());
    }
    line.push(b'"');
}

fn write_escaped(line: &mut Vec<u8>, character: char) {
    // Writing to memory can't fail.
    let _ = match character {
        '"' | '\\' => write!(line, "\\{character}"),
        control if control.is_control() => write!(line, "\\u{:04x}", u32::from(control)),
        other => write!(line, "{other}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_back_from_its_string_and_no_control_character_stays() {
        for character in (0..0x250).filter_map(char::from_u32) {
            let (mut line, text) = (Vec::new(), format!("a{character}b"));
            write_string(&mut line, &text);
            assert!(!str::from_utf8(&line).unwrap().contains(char::is_control), "{character:?}");
            assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }
    }
}
