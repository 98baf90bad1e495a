//! Text as one word of a POSIX shell, for what people copy and what shells read.

/// Always in quotes: in single quotes nothing but the quote itself means anything.
pub(crate) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// In quotes where it needs them.
pub(crate) fn word(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !value.is_empty() && value.chars().all(plain) { value.into() } else { quoted(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_quotes_has_them() {
        assert_eq!(word("dim/load_b.sh"), "dim/load_b.sh");
        assert_eq!(word("load it's"), r"'load it'\''s'");
        assert_eq!(word(""), "''");
    }
}
