//! The table of how programs write one character of a password when they print it.
//!
//! Quoting works character by character in nearly everything that scripts use, so the forms of a whole password need no
//! list of their own: whatever mixture of these a program chooses is found. A letter or a digit stands for itself
//! everywhere. What shells, JSON, URLs, SQL, Python, XML and mail make of the others is here, in one place. Forms that
//! spread a character over its neighbours (base64) are in [`super::encoded`].

use std::collections::BTreeSet;

/// What C, the shells and Python write behind a backslash.
const LETTERS: [(char, &str); 10] = [
    ('\0', "0"),
    ('\u{7}', "a"),
    ('\u{8}', "b"),
    ('\t', "t"),
    ('\n', "n"),
    ('\u{b}', "v"),
    ('\u{c}', "f"),
    ('\r', "r"),
    ('\u{1b}', "e"),
    ('\u{1b}', "E"),
];

/// XML's own entities. <https://www.w3.org/TR/xml/#sec-predefined-ent>
const ENTITIES: [(char, &str); 5] = [('&', "amp"), ('<', "lt"), ('>', "gt"), ('"', "quot"), ('\'', "apos")];

/// HTML's entities of U+00A0 to U+00FF. <https://www.w3.org/TR/html401/sgml/entities.html>
const LATIN_1: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn \
    sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde \
    Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde \
    Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil \
    egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave \
    uacute ucirc uuml yacute thorn yuml";

/// Every way in which a character is written.
pub(super) fn ways(c: char) -> BTreeSet<Vec<u8>> {
    let raw = c.to_string();
    let mut ways = BTreeSet::from([raw.clone()]);
    if !c.is_ascii_alphanumeric() {
        let (code, octal) = (u32::from(c), each(&raw, |byte| format!("\\{byte:03o}")));
        ways.extend([octal, each(&raw, shown), format!("&#{code};"), format!("&#{code:03};")]);
        ways.extend(in_hex(c, |number, width| format!("{number:0width$x}")));
        ways.extend(in_hex(c, |number, width| format!("{number:0width$X}")));
        ways.extend(with_letters(c));
        ways.extend(of_its_own(c).iter().map(|way| (*way).to_owned()));
        // JSON within JSON, and what a program that quotes prints of it: one level more.
        let deeper: Vec<String> = ways
            .iter()
            .filter(|way| way.contains('\\'))
            .map(|way| way.replace('\\', r"\\"))
            .flat_map(|way| [way.replace('"', "\\\""), way])
            .collect();
        ways.extend(deeper);
    }
    ways.into_iter().map(String::into_bytes).collect()
}

fn each(raw: &str, write: impl Fn(u8) -> String) -> String {
    raw.bytes().map(write).collect()
}

/// `hex` writes a number with at least so many digits, in lower case or in capitals.
fn in_hex(c: char, hex: impl Fn(u32, usize) -> String) -> Vec<String> {
    let (raw, code) = (c.to_string(), u32::from(c));
    let bytes = |before: &str| each(&raw, |byte| format!("{before}{}", hex(byte.into(), 2)));
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units).iter();
    let mut ways = vec![
        // URLs; mail (quoted-printable); bytes in Python and shells.
        bytes("%"),
        bytes("="),
        bytes("\\x"),
        // JSON; Python and shells; JavaScript, Rust and Ruby; Perl; XML and HTML.
        units.map(|unit| format!("\\u{}", hex((*unit).into(), 4))).collect(),
        format!("\\U{}", hex(code, 8)),
        format!("\\u{{{}}}", hex(code, 1)),
        format!("\\x{{{}}}", hex(code, 1)),
        format!("&#x{};", hex(code, 1)),
    ];
    // Python's text.
    if code < 0x100 {
        ways.push(format!("\\x{}", hex(code, 2)));
    }
    ways
}

fn with_letters(c: char) -> Vec<String> {
    let code = u32::from(c);
    let escaped = LETTERS.iter().filter(|(of, _)| *of == c).map(|(_, letter)| format!("\\{letter}"));
    let mut ways: Vec<String> = escaped.collect();
    let latin = code.checked_sub(0xa0).and_then(|at| LATIN_1.split(' ').nth(usize::try_from(at).ok()?));
    let entity = ENTITIES.iter().find(|(of, _)| *of == c).map(|(_, name)| *name).or(latin);
    ways.extend(entity.map(|name| format!("&{name};")));
    if c.is_ascii_punctuation() || c == ' ' {
        ways.push(format!("\\{c}"));
    }
    ways
}

/// As `cat -v` shows it.
fn shown(byte: u8) -> String {
    match byte {
        0x80.. => format!("M-{}", shown(byte & 0x7f)),
        byte if byte.is_ascii_control() => format!("^{}", char::from(byte ^ 0x40)),
        byte => char::from(byte).to_string(),
    }
}

/// What is written for this one character only.
fn of_its_own(c: char) -> &'static [&'static str] {
    match c {
        // bash; dash and busybox; SQL.
        '\'' => &[r"'\''", r#"'"'"'"#, "''"],
        // CSV, and names in SQL.
        '"' => &["\"\""],
        // HTML forms.
        ' ' => &["+"],
        // DOS; a shell's word that is not quoted.
        '\n' => &["\r\n", " "],
        '\t' => &[" "],
        // And where DOS's line ends become others'.
        '\r' => &[" ", ""],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(c: char) -> String {
        let ways = ways(c).into_iter().map(|way| String::from_utf8(way).unwrap());
        ways.collect::<Vec<_>>().join("  ").replace('\n', "<LF>").replace('\r', "<CR>")
    }

    #[test]
    fn the_ways_of_some_characters() {
        let all: Vec<String> =
            "a'\n<ö🦀".chars().map(|c| format!("{}: {}", c.escape_debug(), text(c))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
