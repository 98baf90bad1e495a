//! What stands in backquotes: shell text that the script wrote, with values that are never shell text.
//!
//! psql puts `:name` into the command as it is, so that a value such as `; rm -rf /` is run. Here values may come from
//! people who must not run commands. So a value never gets into the command's text: the command gets a reference to an
//! environment variable, which the shell does not read again as shell text, and the value travels in that variable.
//! Where the reference stands in quotes or outside of them, it is written so that the value stays one word. Should the
//! quotes be understood differently than the shell does, a value may be split into words; it is not run.
//!
//! In `$(( ))` a shell evaluates what it finds, names and subscripts included: there only numbers are put in.

use super::reference::{Reference, reference_at};
use super::{Lookup, is_word};

/// A command for the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellCommand {
    /// Its text.
    pub text: String,
    /// The environment variables that its text refers to.
    pub values: Vec<(String, String)>,
}

/// A value in `$(( ))` that is not a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of {0} is not a number, and $(( )) takes nothing else; nothing was run")]
pub struct NotANumber(pub String);

/// What a place of a shell command is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// No quotes; so many open parentheses.
    Nothing(usize),
    /// `'...'`
    Single,
    /// `"..."`
    Double,
    /// `$(( ))`; so many open parentheses.
    Arithmetic(usize),
}

/// Reads the text between backquotes: `:name` and `:'name'` of variables that are set become references.
pub fn shell_command(source: &str, variables: &dyn Lookup) -> Result<ShellCommand, NotANumber> {
    let mut reader = Reader {
        command: ShellCommand { text: String::new(), values: Vec::new() },
        inside: vec![Inside::Nothing(0)],
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

struct Reader {
    command: ShellCommand,
    /// The innermost last.
    inside: Vec<Inside>,
}

impl Reader {
    fn keep(&mut self, text: &str) -> usize {
        self.command.text.push_str(text);
        text.len()
    }

    fn colon(&mut self, rest: &str, variables: &dyn Lookup) -> Result<usize, NotANumber> {
        if let Some((reference, length)) = reference_at(rest)
            && matches!(reference, Reference::Plain(_) | Reference::Literal(_))
            && let Some(value) = variables.lookup(reference.name())
        {
            self.put(reference.name(), value)?;
            return Ok(length);
        }
        // A name that is not set stays with its colon, and is not looked into.
        let word = rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1);
        Ok(self.keep(&rest[..=word]))
    }

    fn put(&mut self, name: &str, value: &str) -> Result<(), NotANumber> {
        let inside = self.inside.last().copied().unwrap_or(Inside::Nothing(0));
        if matches!(inside, Inside::Arithmetic(_)) {
            let digits = value.strip_prefix('-').unwrap_or(value);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(NotANumber(name.to_owned()));
            }
            self.keep(value);
            return Ok(());
        }
        let variable = format!("RSQL_VALUE_{}", self.command.values.len() + 1);
        let reference = match inside {
            Inside::Double => format!("${{{variable}}}"),
            Inside::Single => format!("'\"${{{variable}}}\"'"),
            Inside::Nothing(_) | Inside::Arithmetic(_) => format!("\"${{{variable}}}\""),
        };
        self.command.values.push((variable, value.to_owned()));
        self.keep(&reference);
        Ok(())
    }

    /// One step through text of the script's own, only to know where it is.
    fn shell_text(&mut self, rest: &str, first: char) -> usize {
        let Some(inside) = self.inside.last_mut() else { return self.keep(rest) };
        let quoted = matches!(inside, Inside::Single | Inside::Double);
        match (*inside, first) {
            (Inside::Single, '\'') | (Inside::Double, '"') => drop(self.inside.pop()),
            (Inside::Single, _) => {}
            (_, '\\') => {
                let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                return self.keep(&rest[..1 + escaped]);
            }
            (_, '$') if rest.starts_with("$((") => {
                self.inside.push(Inside::Arithmetic(2));
                return self.keep("$((");
            }
            (_, '$') if rest.starts_with("$(") => {
                self.inside.push(Inside::Nothing(1));
                return self.keep("$(");
            }
            (Inside::Nothing(_), '\'') => self.inside.push(Inside::Single),
            (_, '"') => self.inside.push(Inside::Double),
            (Inside::Nothing(open) | Inside::Arithmetic(open), '(') if !quoted => self.open(open + 1),
            // The outermost is not closed by a parenthesis: `case` has some that nothing opens.
            (Inside::Nothing(open) | Inside::Arithmetic(open), ')') if open > 0 => self.open(open - 1),
            _ => {}
        }
        self.keep(&rest[..first.len_utf8()])
    }

    fn open(&mut self, parentheses: usize) {
        if parentheses == 0 && self.inside.len() > 1 {
            self.inside.pop();
        } else if let Some(Inside::Nothing(open) | Inside::Arithmetic(open)) = self.inside.last_mut() {
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
        assert_eq!(text("echo $((:n * 7)) :x"), "echo $((6 * 7)) \"${RSQL_VALUE_1}\"");
        assert_eq!(
            text("date +%H:%M:%S; echo :unset ::x"),
            "date +%H:%M:%S; echo :unset :\"${RSQL_VALUE_1}\""
        );
        assert_eq!(shell_command("echo $((:x + 1))", &variables("a[$(id)]")), Err(NotANumber("x".into())));
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
