//! A password as text: found however its characters are written.
//!
//! The password is a row of places with steps from each to a later one; a step is a way to write what lies between
//! ([`super::ways`]). A text holds the password where steps lead from the first place to the last. Quoting that depends
//! on the neighbours is a longer step.
//!
//! An automaton of a library would be compiled from the same steps. It could not say whether the end of a text may be the
//! beginning of a password, which decides what of an unfinished line is shown, and takes more to build than all looks at
//! a usual log together.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::ways::ways;
use super::{Beginnings, SECRET_MIN, Seen};

struct Step {
    text: Vec<u8>,
    to: usize,
}

struct Place {
    /// How the next character is written; one list for all places where it stands.
    ways: Arc<[Vec<u8>]>,
    /// Steps over more than that one.
    longer: Vec<Step>,
}

/// One password, or a line of one.
pub(super) struct Written {
    places: Vec<Place>,
    longest: usize,
}

impl Written {
    pub(super) fn new(password: &str) -> Self {
        let characters: Vec<char> = password.chars().collect();
        let mut known: HashMap<char, Arc<[Vec<u8>]>> = HashMap::new();
        let places = characters.iter().enumerate().map(|(at, c)| Place {
            ways: Arc::clone(known.entry(*c).or_insert_with(|| ways(*c).into_iter().collect())),
            longer: longer(&characters, at),
        });
        Self::of(places.collect())
    }

    /// Exactly these bytes.
    pub(super) fn exactly(bytes: &[u8]) -> Self {
        let place = |byte: &u8| Place { ways: Arc::from([vec![*byte]]), longer: Vec::new() };
        Self::of(bytes.iter().map(place).collect())
    }

    fn of(places: Vec<Place>) -> Self {
        let mut written = Self { places, longest: 0 };
        let mut longest = vec![0; written.places.len() + 1];
        for at in (0..written.places.len()).rev() {
            longest[at] = written.steps(at).map(|(text, to)| text.len() + longest[to]).max().unwrap_or(0);
        }
        written.longest = longest[0];
        written
    }

    fn steps(&self, at: usize) -> impl Iterator<Item = (&[u8], usize)> {
        let place = self.places.get(at);
        let ways = place
            .into_iter()
            .flat_map(move |place| place.ways.iter().map(move |way| (way.as_slice(), at + 1)));
        let longer = place.into_iter().flat_map(|place| &place.longer);
        ways.chain(longer.map(|step| (step.text.as_slice(), step.to)))
    }

    /// Most bytes that it takes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// What the text begins with.
    pub(super) fn look(&self, text: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut states = vec![(0, 0)];
        let mut known = BTreeSet::new();
        while let Some((place, length)) = states.pop() {
            if place == self.places.len() {
                seen.whole = seen.whole.max((length >= SECRET_MIN).then_some(length));
                continue;
            }
            let rest = &text[length..];
            for (step, to) in self.steps(place) {
                if rest.starts_with(step) {
                    let state = (to, length + step.len());
                    if known.insert(state) {
                        states.push(state);
                    }
                } else if step.starts_with(rest) {
                    seen.goes_on = true;
                }
            }
        }
        seen
    }

    /// Adds all that it may begin with.
    pub(super) fn add_to(&self, beginnings: &mut Beginnings) {
        let mut states = vec![(0, Vec::new())];
        let mut known = BTreeSet::new();
        while let Some((place, text)) = states.pop() {
            if let Some(beginning) = text.first_chunk() {
                beginnings.add(*beginning);
                continue;
            }
            for (step, to) in self.steps(place) {
                let state = (to, [&text, step].concat());
                if known.insert(state.clone()) {
                    states.push(state);
                }
            }
        }
    }
}

/// Steps over more than one character.
fn longer(characters: &[char], at: usize) -> Vec<Step> {
    let c = characters[at];
    let run = |is: &dyn Fn(char) -> bool| characters[at..].iter().take_while(|c| is(**c)).count();
    let step = |text: Vec<u8>, count: usize| Step { text, to: at + count };
    match c {
        // dash and busybox put quotes in a row between double quotes, and leave out what would be empty at the end.
        '\'' => {
            let count = run(&|c| c == '\'');
            let quotes = format!("'\"{}\"", "'".repeat(count));
            vec![step(format!("{quotes}'").into_bytes(), count), step(quotes.into_bytes(), count)]
        }
        // A shell's word that is not quoted.
        c if c.is_whitespace() => vec![step(vec![b' '], run(&char::is_whitespace))],
        '\\' => {
            unescaped(&characters[at + 1..]).into_iter().map(|(text, count)| step(text, count + 1)).collect()
        }
        _ => Vec::new(),
    }
}

/// What `read`, dash's `echo`, `printf %b` and `${x@E}` make of a backslash before these characters, and of how many of
/// them.
fn unescaped(after: &[char]) -> Vec<(Vec<u8>, usize)> {
    // `read` takes it for the beginning of what follows the word.
    let Some(next) = after.first() else { return vec![(Vec::new(), 0)] };
    let mut made = vec![(next.to_string().into_bytes(), 1)];
    let escape = match next {
        'a' => Some(7),
        'b' => Some(8),
        't' => Some(b'\t'),
        'n' => Some(b'\n'),
        'v' => Some(11),
        'f' => Some(12),
        'r' => Some(b'\r'),
        'e' => Some(27),
        _ => None,
    };
    made.extend(escape.map(|byte| (vec![byte], 1)));
    // Three octal digits, and by some a 0 before them.
    for skip in 0..=usize::from(*next == '0') {
        let digits: Vec<u32> = after[skip..].iter().take(3).map_while(|c| c.to_digit(8)).collect();
        let number = digits.iter().fold(0, |number, digit| number * 8 + digit);
        if let (1.., Ok(byte)) = (skip + digits.len(), u8::try_from(number)) {
            made.push((vec![byte], skip + digits.len()));
        }
    }
    made
}
