use super::*;
use proptest::prelude::*;

const SECRET: &[u8] = b"secret";

/// Short events, so that little input makes many.
fn lines(position: usize, input: &[u8]) -> Lines {
    let before = position.checked_sub(1).map(|before| input[before]);
    let redactor = Redactor::exactly(&[SECRET, b"secret-and-more"]);
    Lines { body_max: 24, ..Lines::new(redactor, position as u64, before) }
}

fn whole(input: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let mut lines = Lines::new(Redactor::exactly(&[SECRET]), 0, None);
    for chunk in input.chunks(64 * 1024) {
        lines.feed(chunk, |line| all.push(line.text));
    }
    lines.finish(|line| all.push(line.text));
    assert_eq!(lines.passed(), input.len() as u64);
    all
}

/// What an event says that begins in the input at `from` and ends at `to`, without its markers; and whether its line
/// was shown in part before.
fn said(input: &[u8], mut from: usize, to: usize) -> (String, bool) {
    let mut begins = from == 0 || input[from - 1] == b'\n';
    if !begins {
        // A line that was shown whole before it ended.
        let end = input[from..to].iter().take_while(|byte| **byte == b'\r').count();
        if input[from + end..to].first() == Some(&b'\n') {
            from += end + 1;
            begins = true;
        }
    }
    let mut text = &input[from..to];
    text = text.strip_suffix(b"\n").unwrap_or(text);
    while let Some(shorter) = text.strip_suffix(b"\r") {
        text = shorter;
    }
    let last = text.rsplit(|byte| *byte == b'\r').next().unwrap();
    let (masked, _) = lines(0, b"").redactor.mask(last, usize::MAX);
    let said = String::from_utf8_lossy(&masked).into_owned();
    (if said.is_empty() { " ".into() } else { said }, !begins && last.len() == text.len())
}

#[derive(Debug, Clone)]
struct Look {
    /// So many more bytes are there.
    bytes: usize,
    /// The line that has not ended is shown.
    flush: bool,
    /// So many events have room.
    events: usize,
}

fn look() -> impl Strategy<Value = Look> {
    (1usize..40, any::<bool>(), 0usize..5).prop_map(|(bytes, flush, events)| Look { bytes, flush, events })
}

/// Looks at an input that grows, each time with nothing but the position, and with feeds of some bytes.
fn follow(input: &[u8], looks: &[Look], feed: usize) -> (Vec<Line>, u64) {
    let (mut all, mut position, mut there) = (Vec::new(), 0, 0);
    let mut looks = looks.iter();
    loop {
        let Look { bytes, flush, events } =
            looks.next().cloned().unwrap_or(Look { bytes: 1000, flush: false, events: usize::MAX });
        there = (there + bytes).min(input.len());
        let mut lines = lines(position, input);
        let mut found = Vec::new();
        for bytes in input[position..there].chunks(feed) {
            lines.feed(bytes, |line| found.push(line));
        }
        if there == input.len() && events == usize::MAX {
            lines.finish(|line| found.push(line));
            all.append(&mut found);
            return (all, lines.passed());
        }
        if flush {
            lines.flush(false, |line| found.push(line));
        }
        let passed = if found.len() > events {
            found.truncate(events);
            found.last().map_or(position as u64, |line| line.end)
        } else {
            lines.passed()
        };
        position = usize::try_from(passed).unwrap();
        all.append(&mut found);
    }
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => "[a-f]{0,30}".prop_map(String::into_bytes),
        2 => Just(b"secret".to_vec()),
        1 => Just(b"secret-and-more".to_vec()),
        1 => Just("ä€🦀".as_bytes().to_vec()),
        3 => Just(b"\n".to_vec()),
        2 => Just(b"\r".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ];
    proptest::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_byte_is_said_once_however_it_is_looked_at(
        input in input(), looks in proptest::collection::vec(look(), 0..20), feed in 1usize..50,
    ) {
        let (events, passed) = follow(&input, &looks, feed);
        prop_assert_eq!(passed, input.len() as u64);
        let mut from = 0;
        let mut line = String::new();
        for event in &events {
            let to = usize::try_from(event.end).unwrap();
            prop_assert!(from < to && to <= input.len());
            let (said, went_on) = said(&input, from, to);
            let body = event.text.strip_prefix(WENT_ON).unwrap_or(&event.text);
            prop_assert_eq!(event.text.starts_with(WENT_ON), went_on);
            prop_assert!(!body.ends_with(GOES_ON) || input.get(to).is_some_and(|byte| *byte != b'\n'));
            let body = body.strip_suffix(GOES_ON).unwrap_or(body);
            prop_assert_eq!(body, said);
            prop_assert!(body.len() <= 24 + MASK.len());
            // Not even in halves.
            if !went_on {
                line.clear();
            }
            line.push_str(body);
            prop_assert!(!line.contains("secret"), "{line}");
            from = to;
        }
    }
}

#[test]
fn what_terminals_overwrite_is_left_out() {
    assert_eq!(whole(b"10%\r20%\r100%\r\nnext\r\n\r\n\rlast\r"), ["100%", "next", " ", "last"]);
    let mut bar = Lines::new(Redactor::default(), 0, None);
    for _ in 0..100_000 {
        bar.feed(b"\r one and the same place ", |_| panic!("the line has not ended"));
    }
    assert!(bar.text.len() < 100 && bar.passed() > 1_000_000);
}

#[test]
fn what_has_no_end_yet_can_be_shown() {
    let mut lines = Lines::new(Redactor::exactly(&[SECRET]), 0, None);
    let mut all = Vec::new();
    lines.feed(b"Password for sec", |line| all.push(line));
    lines.flush(false, |line| all.push(line));
    assert!(lines.has_rest());
    lines.feed(b"ret: \xe2\x82", |line| all.push(line));
    lines.flush(false, |line| all.push(line));
    lines.feed(b"\xac\n", |line| all.push(line));
    lines.feed(b"shown", |line| all.push(line));
    lines.flush(false, |line| all.push(line));
    lines.feed(b"\r\n", |line| all.push(line));
    assert_eq!((lines.has_rest(), lines.passed()), (false, 32));
    let texts: Vec<&str> = all.iter().map(|line| line.text.as_str()).collect();
    let went_on = |text| format!("{WENT_ON}{text}");
    assert_eq!(texts, ["Password for ", &went_on("********: "), &went_on("€"), "shown"]);
}

#[test]
fn long_lines_are_split_inside_the_limit() {
    let mut input = vec![b'x'; BODY_MAX - 3];
    input.extend_from_slice(b"secret, then more, ");
    input.resize(3_000_000, b'y');
    input.extend_from_slice(b"\nnext\n");
    let events = whole(&input);
    assert_eq!(events.len(), 3_000_000_usize.div_ceil(BODY_MAX) + 1);
    assert!(events.iter().all(|event| event.len() <= EVENT_TEXT_MAX));
    assert!(events[0].ends_with(&format!("x********{GOES_ON}")));
    assert!(events[1].starts_with(&format!("{WENT_ON}, then more, y")) && events[1].ends_with(GOES_ON));
    assert_eq!(events.last().unwrap(), "next");
    // What is no text grows.
    let events = whole(&vec![0xff; EVENT_TEXT_MAX]);
    assert!(events.len() > 2 && events.iter().all(|event| event.len() <= EVENT_TEXT_MAX));
    let shown: usize = events.iter().map(|event| event.matches('\u{fffd}').count()).sum();
    assert_eq!(shown, EVENT_TEXT_MAX);
}
