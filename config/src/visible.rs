//! Characters that cannot be seen, and those that change what a person sees around them.
//!
//! Two uses. What people wrote is shown by [`shown`], so that no text can move the cursor of a terminal, rename its
//! window, write over what stands before it, or turn the order of words round. Names are checked by [`name_problem`]:
//! two names that look the same must be the same.
//!
//! The ranges are those of the Unicode Character Database: `Cc`, `Bidi_Control`, `Default_Ignorable_Code_Point`
//! (<https://www.unicode.org/reports/tr44/>), with the separators of lines and of annotations.

use std::borrow::Cow;

/// The text with every character that could mislead written out (`\x1b`, `\r`, `\u{202e}`). Tabs and newlines stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(misleads) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if misleads(c) {
            push_escape(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The same on one line: tabs and line ends become blanks.
pub fn shown_on_a_line(text: &str) -> String {
    let flat = |c: char| if matches!(c, '\n' | '\t') { ' ' } else { c };
    shown(&text.trim_end().replace("\r\n", "\n")).chars().map(flat).collect()
}

/// The character written out.
pub fn push_escape(text: &mut String, c: char) {
    let code = u32::from(c);
    match c {
        '\r' => text.push_str("\\r"),
        _ if code < 0x100 => text.push_str(&format!("\\x{code:02x}")),
        _ => text.push_str(&format!("\\u{{{code:x}}}")),
    }
}

/// JSON text with the same characters escaped as JSON does. Outside its strings JSON has none of them but line ends.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(misleads) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if misleads(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character does something to a terminal or to the text around it.
pub fn misleads(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\t' | '\n');
    control
        || turns(c)
        || matches!(c,
        // Separators of lines and paragraphs, deprecated format controls, a byte order mark, annotations, tags.
        '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// `Bidi_Control`.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is shown as nothing at all, or as a blank that is none.
fn invisible(c: char) -> bool {
    misleads(c)
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Why a name cannot be told from another by looking at it, if it cannot.
pub fn name_problem(name: &str) -> Option<String> {
    let found = name.chars().find(|c| c.is_control() || invisible(*c))?;
    Some(said(found))
}

/// Why a sentence cannot be shown as it is, if it cannot. It may have line ends, and what joins letters and emoji.
pub fn sentence_problem(text: &str) -> Option<String> {
    text.chars().find(|c| misleads(*c)).map(said)
}

fn said(c: char) -> String {
    let code = u32::from(c);
    if turns(c) {
        format!("contains U+{code:04X}, which changes the direction of the text; leave it out")
    } else if c.is_control() {
        format!("contains the control character U+{code:04X}; leave it out")
    } else {
        format!("contains U+{code:04X}, which cannot be seen; leave it out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(shown("größe 数据 🚀\tx\n"), "größe 数据 🚀\tx\n");
        assert_eq!(shown("\u{1b}]0;title\u{7}"), "\\x1b]0;title\\x07");
        assert_eq!(shown("ok\rFAILED \u{9b}2J \u{7f}\0"), "ok\\rFAILED \\x9b2J \\x7f\\x00");
        assert_eq!(shown("a\u{202e}cba\u{2066}\u{feff}"), "a\\u{202e}cba\\u{2066}\\u{feff}");
        assert_eq!(shown_on_a_line("one\r\ntwo\tthree\r\n"), "one two three");
    }

    #[test]
    fn json_stays_the_same_value() {
        let text = "\u{9b}\u{202e}\u{e0041}\u{7f} größe \u{1b}";
        let written = serde_json::to_string(text).unwrap();
        let escaped = json(&written);
        assert!(!escaped.contains(misleads), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }

    #[test]
    fn names_have_nothing_that_cannot_be_seen() {
        for (name, code) in [
            ("a\u{202e}b", "U+202E"),
            ("a\u{2066}b", "U+2066"),
            ("a\u{200b}", "U+200B"),
            ("\u{feff}a", "U+FEFF"),
            ("a\u{ad}b", "U+00AD"),
            ("a\u{1b}b", "U+001B"),
            ("a\u{9b}b", "U+009B"),
            ("a\nb", "U+000A"),
            ("a\u{3164}", "U+3164"),
            ("a\u{e0041}", "U+E0041"),
            ("a\u{200d}b", "U+200D"),
            ("a\u{2028}", "U+2028"),
        ] {
            assert!(name_problem(name).is_some_and(|told| told.contains(code)), "{name:?}");
        }
        assert_eq!(name_problem("dim/größe 'laden' 数据 🚀.sh"), None);
        assert_eq!(sentence_problem("Two lines\nand a family 👨\u{200d}👩\u{200d}👧"), None);
        assert!(sentence_problem("a\rb").is_some() && sentence_problem("a\u{202e}b").is_some());
    }

    proptest! {
        #[test]
        fn nothing_misleading_is_left(text: String) {
            prop_assert!(!shown(&text).contains(misleads));
            prop_assert!(!shown_on_a_line(&text).contains(|c: char| c.is_control() || misleads(c)));
        }
    }
}
