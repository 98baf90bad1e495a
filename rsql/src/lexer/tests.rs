use std::collections::HashMap;

use proptest::prelude::*;

use super::argument::{command_name, next_argument, skip_arguments};
use super::*;

impl Lookup for HashMap<&str, &str> {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.get(name).copied()
    }
}

/// Cuts a script: statements as they are, commands as `\name|arg|arg`.
fn pieces(script: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let mut scanner = Scanner::default();
    let mut found = Vec::new();
    for line in script.split_inclusive('\n') {
        let mut cursor = Cursor::new(line);
        loop {
            match scanner.scan(&mut cursor, Some(&variables)) {
                Stop::EndOfLine => break,
                Stop::Statement => found.push(scanner.take()),
                Stop::Command => {
                    let mut piece = format!("\\{}", command_name(&mut cursor));
                    while let Ok(Some(argument)) = next_argument(&mut cursor, &variables, &mut |command| {
                        command
                            .map_or_else(|wrong| wrong.to_string(), |command| format!("<{}>", command.text))
                    }) {
                        piece += &format!("|{}", argument.text);
                    }
                    argument::skip_separator(&mut cursor);
                    found.push(piece);
                }
            }
        }
    }
    if scanner.has_statement() {
        found.push(scanner.take());
    }
    found
}

#[test]
fn semicolons_in_quotes_comments_and_parentheses_do_not_end_a_statement() {
    for statement in [
        "select ';';",
        "select 'it''s; so';",
        r"select E'it\'s; so';",
        "select $$;$$;",
        "select $a$ ; $b$ ; $a$;",
        "select \"a;b\";",
        "select 1 /* ; /* ; */ ; */;",
        "select 1 -- ;\n;",
        "create rule r as on insert to t do (select 1; select 2);",
        "select a$b$ from t;",
        "create function f() returns int begin atomic select case when true then 1 end; select 2; end;",
    ] {
        let twice = format!("{statement}\n{statement}");
        assert_eq!(pieces(&twice, &[]), [statement, statement]);
    }
}

#[test]
fn a_backslash_is_a_command_only_outside_quotes() {
    assert_eq!(pieces(r"select '\q', $$\q$$, 1 /* \q */;", &[]).len(), 1);
    assert_eq!(
        pieces("select 1 \\echo a 'b c'\n, 2;\n", &[]),
        [r"\echo|a|b c", "select 1 \n, 2;"].map(|s| s.replace(" \n", " "))
    );
    assert_eq!(pieces(r"\echo a \\ select 1;", &[]), [r"\echo|a", "select 1;"]);
    assert_eq!(pieces(r"\if 1 \echo x \endif", &[]), [r"\if|1", r"\echo|x", r"\endif"]);
    assert_eq!(pieces(r"select 1\; select 2;", &[]), ["select 1; select 2;"]);
}

#[test]
fn values_are_put_in_raw_as_literals_and_as_identifiers() {
    let variables = [("v", "it's"), ("n", "1"), ("q", "'s3://b/p'"), ("x", ":x :n"), ("w", r"a\b")];
    let one = |sql: &str| pieces(sql, &variables).join("~");
    assert_eq!(one("select :n, :'v', :\"v\";"), "select 1, 'it''s', \"it's\";");
    assert_eq!(one("copy t from :q;"), "copy t from 's3://b/p';");
    assert_eq!(
        one("select :unset, :'unset', ':n', \":n\", $$:n$$ -- :n\n;"),
        "select :unset, :'unset', ':n', \":n\", $$:n$$ -- :n\n;"
    );
    assert_eq!(one("select '1'::int, a[1:n], b:=:n;"), "select '1'::int, a[11], b:=1;");
    assert_eq!(one("select :x;"), "select :x 1;");
    assert_eq!(one("select :'w';"), r"select  E'a\\b';");
    assert_eq!(one("select :{?n}, :{?gone};"), "select TRUE, FALSE;");
}

#[test]
fn arguments_follow_their_own_rules() {
    let variables = [("v", "val"), ("ERRORCODE", "42P01"), ("sp", "a b")];
    let one = |line: &str| pieces(line, &variables).join("~");
    assert_eq!(one(r"\echo a  b :v 'c\n:v' x'y'z"), "\\echo|a|b|val|c\n:v|xyz");
    assert_eq!(one(r"\echo 12:07:31.55 s3://x :unset"), r"\echo|12:07:31.55|s3://x|:unset");
    assert_eq!(one(r#"\echo "a b" :sp"#), r#"\echo|"a b"|a b"#);
    assert_eq!(one(r"\if :'ERRORCODE' = '42P01'"), r"\if|'42P01'|=|42P01");
    assert_eq!(
        one(r"\set now `date +:v :'sp'`"),
        "\\set|now|<date +\"${RSQL_VALUE_1}\" \"${RSQL_VALUE_2}\">"
    );
    assert_eq!(one(r"\echo '\101\x42\\'"), r"\echo|AB\");
    assert_eq!(one("\\echo 'open\nselect 1;"), "\\echo~select 1;");
}

#[test]
fn redshift_strings_end_where_redshift_ends_them() {
    let mut scanner = Scanner::new(false);
    let mut cursor = Cursor::new(r"select 'it\'s;';");
    assert_eq!(scanner.scan(&mut cursor, None), Stop::Statement);
    assert_eq!(scanner.take(), r"select 'it\'s;';");
}

/// Text made of the characters that matter to the lexer.
fn scripts() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("$$".to_owned()),
        Just("$t$".to_owned()),
        Just("/*".to_owned()),
        Just("*/".to_owned()),
        Just("--".to_owned()),
        Just("\n".to_owned()),
        Just(";".to_owned()),
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just("\\".to_owned()),
        Just(":".to_owned()),
        Just("E'".to_owned()),
        Just(" ".to_owned()),
        Just("`".to_owned()),
        Just("create function ".to_owned()),
        Just("begin ".to_owned()),
        Just("end".to_owned()),
        "[a-zé0-9]{1,3}",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost(script in scripts()) {
        // The two escapes do lose their backslash.
        prop_assume!(!script.contains("\\;") && !script.contains("\\:"));
        let mut scanner = Scanner::default();
        let mut joined = String::new();
        for line in script.split_inclusive('\n') {
            let mut cursor = Cursor::new(line);
            loop {
                match scanner.scan(&mut cursor, None) {
                    Stop::EndOfLine => break,
                    Stop::Statement => {
                        joined.push_str(scanner.text());
                        scanner.take();
                    }
                    Stop::Command => {
                        joined.push_str(scanner.text());
                        scanner.rewind(Mark::default());
                        joined.push('\\');
                        joined.push_str(cursor.line_rest());
                        let rest = cursor.line_rest().len();
                        cursor.advance_line(rest);
                    }
                }
            }
        }
        joined.push_str(scanner.text());
        prop_assert_eq!(joined, script);
    }

    #[test]
    fn no_input_panics(script in scripts(), value in scripts()) {
        pieces(&script, &[("a", &value), ("t", ":a")]);
        let mut cursor = Cursor::new(script);
        skip_arguments(&mut cursor);
    }
}
