use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

impl Redactor {
    /// Of secrets that are found as they are.
    pub(crate) fn exactly(secrets: &[&[u8]]) -> Self {
        Self::new(secrets.iter().map(|secret| Arc::new(Forms::exactly(secret))))
    }

    fn of_password(password: &str) -> Self {
        Self::new([Arc::new(Forms::of_password(password))])
    }
}

#[test]
fn secrets_are_masked_wherever_they_stand() {
    let redactor = Redactor::exactly(&[b"hunter22", b"hunter22-longer", b"abc"]);
    assert_eq!(redactor.mask_text("x hunter22 abc hunter22-longer"), "x ******** abc ********");
    // Across the limit: masked, not cut in two.
    let (masked, consumed) = redactor.mask(b"12hunter2233", 5);
    assert_eq!((masked.as_slice(), consumed), (&b"12********"[..], 10));
    assert_eq!([&b"xhun"[..], b"hunter22", b"hunter2x"].map(|raw| redactor.begun(raw)), [3, 8, 0]);
    assert_eq!(Redactor::default().mask(b"hunter22", 3), (b"hun".to_vec(), 3));
}

/// What a reader sees of a text that a program made of a password, without the masks.
fn left(password: &str, text: &str) -> String {
    Redactor::of_password(password).mask_text(text).replace("********", "")
}

#[test]
fn a_password_is_found_in_every_form() {
    let password = "pa$$wörd`1!'\"\\ 🦀";
    for form in [
        r#"declare -x X="pa\$\$wörd\`1!'\"\\ 🦀""#,
        r"pa\$\$wörd\`1\!\'\x22\\\ 🦀",
        r#"'pa$$wörd`1!'\''"\ 🦀'"#,
        r#"'pa$$wörd`1!'"'"'"\ 🦀'"#,
        r#"$'pa$$w\303\266rd`1!\'"\\ \U0001f980'"#,
        r#"pa$$w\u00f6rd`1!'\"\\ \ud83d\ude80"#,
        r#"pa$$w\u00F6rd`1!\u0027\u0022\u005C\u0020\uD83E\uDD80"#,
        r#"{\"p\": \"pa$$w\\u00f6rd`1!'\\\"\\\\ 🦀\"}"#,
        "pa%24%24w%C3%B6rd%601%21%27%22%5C%20%F0%9F%A6%80",
        "pa%24%24w%c3%b6rd%601!'%22%5c+%f0%9f%a6%80",
        r#"E'pa$$wörd`1!''"\\ 🦀'"#,
        r#"b'pa$$w\xc3\xb6rd`1!\'"\\ \xf0\x9f\xa6\x80'"#,
        r#"'pa$$w\xf6rd`1!\'"\\ \U0001f980'"#,
        "pa$$w&ouml;rd`1!&apos;&quot;\\ &#129408;",
        "pa&#x24;&#36;w&#xF6;rd&#x60;1&#033;&#039;&#34;&#92;&#32;&#x1f980;",
        "pa$$w=C3=B6rd`1!'\"\\ =F0=9F=A6=80",
    ] {
        // The crab of the first JSON is another.
        let rest = left(password, form);
        let is_other = form.contains("\\ude80");
        assert_eq!(rest.contains("pa") || rest.contains("rd"), is_other, "{form}: {rest}");
    }
}

#[test]
fn a_password_is_found_in_base64_and_hexadecimal() {
    for password in
        ["s3cr3t-p~ss?", "ÿþý long ~~??>> enough to be broken into lines, once and again; and again"]
    {
        for before in ["", "u", "us", "usr", "user:", "Basic realm"] {
            let text = format!("{before}{password}");
            for encoded in [STANDARD.encode(&text), URL_SAFE.encode(format!("{text}\n"))] {
                for width in [usize::MAX, 64, 76] {
                    let lines =
                        encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap());
                    let rest: Vec<String> = lines.map(|line| left(password, line)).collect();
                    // The characters that the neighbours have part in, and less than six where a line begins or ends.
                    let prefix = before.len() * 4 / 3 + 2;
                    let shown: usize = rest.iter().map(String::len).sum();
                    assert!(shown <= prefix + 6 + 5, "{password} after {before}: {rest:?} of {encoded}");
                }
            }
        }
        let hex: String = password.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (left(password, &hex), left(password, &hex.to_uppercase())),
            (String::new(), String::new())
        );
    }
}

#[test]
fn a_password_with_line_ends_is_found_line_by_line() {
    let password = "-----BEGIN-----\r\nMIIEow IBAAK\nab\nlast line\\nafter";
    assert_eq!(left(password, "-----BEGIN-----\nMIIEow IBAAK\nab\nlast line\n"), "\n\nab\n\n");
    assert_eq!(
        left(password, "x -----BEGIN----- MIIEow IBAAK ab last line\\nafter y"),
        "x  y",
        "in one line"
    );
    assert_eq!(left(password, &password.replace('\r', "")), "");
    assert_eq!(left("two  spaces\tand tab", "two spaces and tab"), "");
    assert_eq!(left(" leading blank", "leading blank"), "");
    assert_eq!(left("tab\\tand\\0101nd", "tab\tandAnd"), "", "as dash's echo prints it");
}

#[test]
fn words_that_are_no_secret_are_left_alone() {
    let redactor = Redactor::of_password("l0ad-it");
    let text = "load it, l0ad, l0ad-i, 50% of &amp; \\u00f6";
    assert_eq!(redactor.mask_text(text), text);
    assert_eq!(redactor.begun(b"50%"), 0);
    assert_eq!(left("short", "short"), "short");
}

fn password() -> impl Strategy<Value = String> {
    "([a-c]|[ '\"\\\\$%&<>\n\t]|[öé🦀]){6,20}"
}

/// A password, and the same with each character written in one of its ways.
fn some_writing() -> impl Strategy<Value = (String, Vec<u8>)> {
    (password(), proptest::collection::vec(any::<prop::sample::Index>(), 20)).prop_map(|(password, picks)| {
        let written = password.chars().zip(&picks).flat_map(|(c, pick)| {
            let ways: Vec<_> = ways::ways(c).into_iter().collect();
            pick.get(&ways).clone()
        });
        let written = written.collect();
        (password, written)
    })
}

proptest! {
    #[test]
    fn a_mixture_of_ways_is_found_and_so_is_its_beginning(
        (password, written) in some_writing(), before in "[a-z ]{0,5}", at in any::<prop::sample::Index>(),
    ) {
        let redactor = Redactor::of_password(&password);
        let text = [before.as_bytes(), &written, b"\n"].concat();
        let (masked, consumed) = redactor.mask(&text, usize::MAX);
        prop_assert_eq!(consumed, text.len());
        prop_assert!(masked.len() <= before.len() + MASK.len() + 1, "{}", String::from_utf8_lossy(&masked));
        // Wherever the text is cut within it, nothing of it is shown before the rest is there.
        let cut = before.len() + 1 + at.index(written.len());
        if cut < before.len() + written.len() {
            prop_assert!(redactor.begun(&text[..cut]) >= cut - before.len());
        }
        prop_assert!(redactor.longest() >= written.len());
    }

    #[test]
    fn nothing_panics(password in any::<String>(), text in proptest::collection::vec(any::<u8>(), 0..100), limit in 0usize..120) {
        let redactor = Redactor::of_password(&password);
        let (_, consumed) = redactor.mask(&text, limit);
        prop_assert!(consumed <= text.len() && consumed >= limit.min(text.len()));
        prop_assert!(redactor.begun(&text) <= text.len());
    }
}
