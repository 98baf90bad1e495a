//! What stands in backquotes: shell text that the script wrote, with values that are never shell text.
//!
//! psql puts `:name` into the command as it is, so that a value such as `; rm -rf /` is run. Here values may come from
//! people who must not run commands. So a value never gets into the command's text: the command gets a reference to an
//! environment variable, which the shell does not read again as shell text, and the value travels in that variable.
//! Where the reference stands in quotes or outside of them, it is written so that the value stays one word. Should the
//! quotes be understood differently than the shell does, a value may be split into words; it is not run.
//!
//! Some constructs evaluate the text that they find, even the value of a variable: arithmetic, subscripts, `[[ ]]`. There
//! a value such as `a[$(command)]` runs the command. Where such a construct ends is known to a shell for certain, and not
//! to the few states here. So a command that has one anywhere takes numbers only, everywhere ([`evaluating`]). Plain words
//! will not do: they are names of variables, whose values are evaluated in turn. Builtins and programs that evaluate
//! their arguments (`eval`, `let`, `declare -i`, `test -v`, `sh -c`) are the script's own risk; docs/security.md says so.

use super::reference::{Reference, reference_at};
use super::{Lookup, is_word};

/// A command for the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellCommand {
    /// Its text.
    pub text: String,
    /// The environment variables that its text refers to.
    pub values: Vec<(String, String)>,
    /// One of its values came with the job; see [`Lookup::is_given`]. Then so did what it prints.
    pub given: bool,
}

/// A value that is not a number, for a command that evaluates what it finds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value of {name} is not a number; a command with {construct} takes only numbers, because a shell may run what it \
     finds there; nothing was run"
)]
pub struct MustBeNumber {
    /// The variable.
    pub name: String,
    /// What evaluates.
    pub construct: &'static str,
}

/// What a place of a shell command is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// No quotes; so many open parentheses.
    Nothing(usize),
    /// `'...'`
    Single,
    /// `"..."`
    Double,
}

/// Reads the text between backquotes: `:name` and `:'name'` of variables that are set become references.
pub fn shell_command(source: &str, variables: &dyn Lookup) -> Result<ShellCommand, MustBeNumber> {
    let mut reader = Reader {
        command: ShellCommand { text: String::new(), values: Vec::new(), given: false },
        inside: vec![Inside::Nothing(0)],
        evaluating: evaluating(source),
    };
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ':' => reader.colon(rest, variables)?,
            _ => reader.shell_text(rest, first),
        };
        rest = &rest[length..];
    }
    Ok(reader.command)
}

/// The construct in a command that evaluates what it finds, if there is one. Only the text counts, not its quotes: a
/// command too many is refused, for values that are no numbers, and none too few.
fn evaluating(source: &str) -> Option<&'static str> {
    // A reserved word, so that it ends like one; `[[:space:]]` is none.
    let ends_word = |rest: &str| {
        rest.is_empty() || rest.starts_with([' ', '\t', '\n', '(', ')', '<', '>', ';', '&', '|'])
    };
    let subscript = |(at, _): (usize, &str)| source[..at].ends_with(is_word);
    if source.contains("((") {
        Some("$(( ))")
    } else if source.contains("$[") {
        Some("$[ ]")
    } else if source.match_indices("[[").any(|(at, open)| ends_word(&source[at + open.len()..])) {
        Some("[[ ]]")
    } else if source.match_indices('[').any(subscript) {
        Some("a subscript, name[...],")
    } else if source.contains("${!") {
        Some("${!name}")
    } else if source.split("${").skip(1).any(takes_a_part) {
        Some("${name:offset}")
    } else {
        None
    }
}

/// Whether what follows `${` is a parameter and a colon that begins an offset, not `:-`, `:=`, `:?` or `:+`.
fn takes_a_part(expansion: &str) -> bool {
    let rest = expansion.strip_prefix('#').unwrap_or(expansion);
    let named = rest.trim_start_matches(is_word);
    let after =
        if named.len() < rest.len() { named } else { rest.trim_start_matches(['@', '*', '?', '$', '-']) };
    after.strip_prefix(':').is_some_and(|offset| !offset.starts_with(['-', '=', '?', '+']))
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

struct Reader {
    command: ShellCommand,
    /// The innermost last.
    inside: Vec<Inside>,
    evaluating: Option<&'static str>,
}

impl Reader {
    fn keep(&mut self, text: &str) -> usize {
        self.command.text.push_str(text);
        text.len()
    }

    fn colon(&mut self, rest: &str, variables: &dyn Lookup) -> Result<usize, MustBeNumber> {
        if let Some((reference, length)) = reference_at(rest)
            && matches!(reference, Reference::Plain(_) | Reference::Literal(_))
            && let Some(value) = variables.lookup(reference.name())
        {
            self.put(reference.name(), value)?;
            self.command.given |= variables.is_given(reference.name());
            return Ok(length);
        }
        // A name that is not set stays with its colon, and is not looked into.
        let word = rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1);
        Ok(self.keep(&rest[..=word]))
    }

    fn put(&mut self, name: &str, value: &str) -> Result<(), MustBeNumber> {
        if let Some(construct) = self.evaluating {
            if !is_number(value) {
                return Err(MustBeNumber { name: name.to_owned(), construct });
            }
            self.keep(value);
            return Ok(());
        }
        let inside = self.inside.last().copied().unwrap_or(Inside::Nothing(0));
        let variable = format!("RSQL_VALUE_{}", self.command.values.len() + 1);
        let reference = match inside {
            Inside::Double => format!("${{{variable}}}"),
            Inside::Single => format!("'\"${{{variable}}}\"'"),
            Inside::Nothing(_) => format!("\"${{{variable}}}\""),
        };
        self.command.values.push((variable, value.to_owned()));
        self.keep(&reference);
        Ok(())
    }

    /// One step through text of the script's own, only to know where it is.
    fn shell_text(&mut self, rest: &str, first: char) -> usize {
        let Some(inside) = self.inside.last() else { return self.keep(rest) };
        match (*inside, first) {
            (Inside::Single, '\'') | (Inside::Double, '"') => drop(self.inside.pop()),
            (Inside::Single, _) => {}
            (_, '\\') => {
                let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                return self.keep(&rest[..1 + escaped]);
            }
            (_, '$') if rest.starts_with("$(") => {
                self.inside.push(Inside::Nothing(1));
                return self.keep("$(");
            }
            (Inside::Nothing(_), '\'') => self.inside.push(Inside::Single),
            (_, '"') => self.inside.push(Inside::Double),
            (Inside::Nothing(open), '(') => self.open(open + 1),
            // The outermost is not closed by a parenthesis: `case` has some that nothing opens.
            (Inside::Nothing(open), ')') if open > 0 => self.open(open - 1),
            _ => {}
        }
        self.keep(&rest[..first.len_utf8()])
    }

    fn open(&mut self, parentheses: usize) {
        if parentheses == 0 && self.inside.len() > 1 {
            self.inside.pop();
        } else if let Some(Inside::Nothing(open)) = self.inside.last_mut() {
            *open = parentheses;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    struct One(BTreeMap<&'static str, String>);

    impl Lookup for One {
        fn lookup(&self, name: &str) -> Option<&str> {
            self.0.get(name).map(String::as_str)
        }
    }

    fn variables(value: &str) -> One {
        One([("x", value.to_owned()), ("n", "6".to_owned())].into())
    }

    fn text(source: &str) -> String {
        shell_command(source, &variables("v")).unwrap().text
    }

    /// What a shell makes of it.
    fn run(shell: &str, source: &str, value: &str) -> String {
        let command = shell_command(source, &variables(value)).unwrap();
        let ran = Command::new(shell).arg("-c").arg(&command.text).envs(command.values).output().unwrap();
        assert!(ran.status.success(), "{shell} {}: {ran:?}", command.text);
        String::from_utf8(ran.stdout).unwrap()
    }

    #[test]
    fn a_reference_is_written_for_where_it_stands() {
        assert_eq!(text("echo :x"), "echo \"${RSQL_VALUE_1}\"");
        assert_eq!(text("echo :'x'"), "echo \"${RSQL_VALUE_1}\"");
        assert_eq!(text("echo \"a :x\" b"), "echo \"a ${RSQL_VALUE_1}\" b");
        assert_eq!(text("echo 'a :x b'"), "echo 'a '\"${RSQL_VALUE_1}\"' b'");
        assert_eq!(text("a \\\" :x"), "a \\\" \"${RSQL_VALUE_1}\"");
        assert_eq!(
            text("echo \"$(cat :x)\" \":x\""),
            "echo \"$(cat \"${RSQL_VALUE_1}\")\" \"${RSQL_VALUE_2}\""
        );
        assert_eq!(text("echo $((:n * 7)) ':n'"), "echo $((6 * 7)) '6'");
        assert_eq!(
            text("date +%H:%M:%S; echo :unset ::x"),
            "date +%H:%M:%S; echo :unset :\"${RSQL_VALUE_1}\""
        );
    }

    #[test]
    fn what_only_looks_like_evaluation_takes_any_value() {
        for source in [
            "echo :x | sed 's/[[:space:]]//g'",
            "tr -d [:digit:] < :x",
            "ls /in/*[0-9] :x",
            "[ :x = a ] && echo ${HOME:-/tmp} ${a:+:x} ${a:=b} ${a:?}",
            "echo ${a#*:} ${a%%:*} ${#a} ${a-:x}",
        ] {
            assert!(shell_command(source, &variables("v")).is_ok(), "{source}");
        }
    }

    #[test]
    fn a_value_is_one_word_and_never_run() {
        let directory = tempfile::tempdir().unwrap();
        let canary = directory.path().join("canary");
        let touch = format!("touch {}", canary.display());
        for shell in ["sh", "bash"] {
            for value in [
                format!("; {touch}"),
                format!("$({touch})"),
                format!("`{touch}`"),
                format!("' ; {touch} ; '"),
                format!("\" ; {touch} ; \""),
                format!("| {touch}"),
                format!("\n{touch}\n"),
                format!("&& {touch}"),
                format!("\\'; {touch}"),
                format!("${{x:-$({touch})}}"),
                format!("a[$({touch})]"),
                "* ~ $HOME".into(),
            ] {
                for source in [
                    "printf %s :x",
                    "printf %s :'x'",
                    "printf %s \":x\"",
                    "printf %s ':x'",
                    "printf %s \"$(printf %s :x)\"",
                    "printf %s \"$(printf %s \":x\")\"",
                    "(printf %s :x)",
                    "printf '%s' :x # don't",
                ] {
                    // A command substitution takes the line ends at its end.
                    let printed = run(shell, source, &value);
                    assert_eq!(
                        printed.trim_end_matches('\n'),
                        value.trim_end_matches('\n'),
                        "{shell}: {source}"
                    );
                }
                assert!(!canary.exists(), "{value}");
            }
        }
    }

    /// Commands that evaluate what they find, with what bash prints where `:x` is 6.
    const EVALUATING: [(&str, &str); 21] = [
        ("echo $(( :x + 1 ))", "7"),
        ("echo $(( \":x\" + 1 ))", "7"),
        ("echo $(( $(echo :x) + 1 ))", "7"),
        ("echo $(( $(echo \":x\") + 1 ))", "7"),
        ("echo \"$(( :x + 1 ))\"", "7"),
        ("n=:x; echo $((n + 1))", "7"),
        ("((:x > 1)) && echo yes", "yes"),
        ("for ((i = :x; i < 7; i++)); do echo $i; done", "6"),
        ("echo $[ :x + 1 ]", "7"),
        ("[[ :x -eq 6 ]] && echo yes", "yes"),
        ("[[(:x -eq 6)]] && echo yes", "yes"),
        ("a=(0 1 2 3 4 5 six); echo ${a[:x]}", "six"),
        ("a=(0 1 2 3 4 5 six); echo \"${a[\":x\"]}\"", "six"),
        ("a[:x]=six; echo ${a[6]}", "six"),
        ("a=(1 2); unset 'a[:x]'; echo ${a[0]}", "1"),
        ("s=abcdefgh; echo ${s::x}", "gh"),
        ("s=abcdefgh; echo ${s: :x}", "gh"),
        ("s=abcdefgh; echo ${s:1::x}", "bcdefg"),
        ("set -- a b c d e f; echo ${@::x}", "f"),
        ("set -- a b c d e f; echo ${*: :x:1}", "f"),
        ("r=:x; set -- a b c d e f; echo ${!r}", "f"),
    ];

    #[test]
    fn a_command_that_evaluates_takes_numbers_only() {
        let directory = tempfile::tempdir().unwrap();
        let canary = directory.path().join("canary");
        let touch = format!("touch {}", canary.display());
        let is_there = |shell: &&str| Command::new(shell).args(["-c", ":"]).status().is_ok();
        let shells: Vec<&str> = ["sh", "bash"].into_iter().filter(is_there).collect();
        for (source, printed) in EVALUATING {
            // A word is the name of a variable, of which the value is evaluated.
            for value in [&*format!("a[$({touch})]"), "x", "a.b", "1+1", "-", "", "6 7"] {
                for shell in &shells {
                    // Where it is let through after all, it shows.
                    if let Ok(command) = shell_command(source, &variables(value)) {
                        let mut child = Command::new(shell);
                        let _ran = child.arg("-c").arg(&command.text).envs(command.values).output().unwrap();
                    }
                }
                assert!(!canary.exists(), "{source} ran {value}");
                let refused = shell_command(source, &variables(value)).unwrap_err();
                assert_eq!(refused.name, "x", "{source}");
            }
            if shells.contains(&"bash") {
                assert_eq!(run("bash", source, "6").trim_end(), printed, "{source}");
            }
        }
        let told = |source| shell_command(source, &variables("v")).unwrap_err().to_string();
        insta::assert_snapshot!(told("echo $((:x))"), @"the value of x is not a number; a command with $(( )) takes only numbers, because a shell may run what it finds there; nothing was run");
    }

    proptest! {
        #[test]
        fn no_value_gets_into_the_text(source in "[ -~]{0,40}", value in "[!-~]{1,20}") {
            prop_assume!(!value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'));
            let with = |value: &str| shell_command(&source, &variables(value)).map(|command| command.text);
            if let (Ok(one), Ok(other)) = (with(&value), with("something else")) {
                prop_assert_eq!(one, other);
            }
        }
    }
}
