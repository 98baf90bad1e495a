use std::fs;
use std::io::Cursor;

use super::*;
use crate::dialect::copy::{Load, Shape};
use crate::dialect::{Translation, translate};

fn load(options: &str) -> Load {
    match translate(&format!("copy t from 's3://b/p/x' {options};")) {
        Translation::Load(load) => *load,
        other => panic!("{other:?}"),
    }
}

/// Loads `data` into an int, a varchar(5) and a text column.
fn encoded(options: &str, data: &[u8]) -> String {
    let load = load(options);
    let columns =
        [TargetColumn::new("a", 23, -1), TargetColumn::new("b", 1043, 9), TargetColumn::new("c", 25, -1)];
    let encoder = Encoder::new(&load, &columns);
    let mut records = Records::new(&load, Box::new(Cursor::new(data.to_vec()))).unwrap();
    let mut fields = Fields::default();
    let mut out = Vec::new();
    loop {
        match records.read(&mut fields) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return format!("line {}: {error}", records.line()),
        }
        if let Err(reason) = encoder.encode(&fields, &mut out) {
            return format!("line {}: {reason}", records.line());
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn delimited_records_are_read_as_redshift_reads_them() {
    for (options, data, expected) in [
        ("delimiter '|'", "1|a|b\n2|c|d|\n", "1\ta\tb\n2\tc\td\n"),
        ("", "|| \n", "\\N\t\t \n"),
        ("emptyasnull blanksasnull", "|| \n", "\\N\t\\N\t\\N\n"),
        ("", "\\N|\\N|a\\b\r\n", "\\N\t\\N\ta\\\\b\n"),
        ("null as 'NULL'", "NULL|NULL|\\N\n", "\\N\t\\N\t\\\\N\n"),
        ("delimiter '\\t' ignoreheader 1", "x\ty\tz\n1\ta\tb", "1\ta\tb\n"),
        ("escape", "1|a\\|b|c\\\\\n", "1\ta|b\tc\\\\\n"),
        ("removequotes", "1|'a|b'|\"c\"\n", "1\ta|b\tc\n"),
        ("truncatecolumns", "1|äbcdefgh|x\n", "1\täbcde\tx\n"),
        ("trimblanks", "1|a  |b \n", "1\ta\tb\n"),
        ("fillrecord", "1|a\n", "1\ta\t\\N\n"),
        ("ignoreblanklines", "\n1|a|b\n  \n", "1\ta\tb\n"),
        ("", "1|a\n", "line 1: Delimiter not found"),
        ("", "1|a|b\n1|a|b|c\n", "line 2: Extra column(s) found"),
    ] {
        assert_eq!(encoded(options, data.as_bytes()), expected, "{options}: {data}");
    }
    assert_eq!(encoded("acceptinvchars as '^'", b"1|a\xffb|c\n"), "1\ta^b\tc\n");
}

#[test]
fn csv_records_may_hold_quotes_delimiters_and_line_ends() {
    for (options, data, expected) in [
        ("csv", "1,\"a,\"\"b\"\"\",\"c\nd\"\n", "1\ta,\"b\"\tc\\nd\n"),
        ("csv", "\"\",,\"\"\n", "\\N\t\t\n"),
        ("csv", "1,\\N,\"\\N\"\n", "1\t\\N\t\\\\N\n"),
        ("csv quote as '%' delimiter ';'", "1;%a;b%;c\n", "1\ta;b\tc\n"),
        ("csv", "1,\"open,b\n", "line 2: unterminated quoted field"),
    ] {
        assert_eq!(encoded(options, data.as_bytes()), expected, "{options}: {data}");
    }
}

#[test]
fn options_are_understood_in_any_order_and_case() {
    let load = load(
        "iam_role default FORMAT AS CSV Quote '''' gzip region 'eu-west-1' dateformat 'auto' \
         COMPUPDATE OFF statupdate maxerror 10 timeformat as 'YYYY-MM-DD HH:MI:SS' acceptinvchars",
    );
    assert_eq!((load.shape, load.delimiter, load.gzip), (Shape::Csv { quote: b'\'' }, b',', true));
    assert_eq!(load.accept_invalid, Some('?'));
    assert_eq!((load.bucket.as_str(), load.prefix.as_str()), ("b", "p/x"));
}

#[test]
fn files_are_found_by_prefix_and_never_outside_the_bucket() {
    let root = tempfile::tempdir().unwrap();
    for name in ["b/p/x2.csv", "b/p/x1.csv", "b/p/x/deep/3.csv", "b/p/y.csv", "other/secret"] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    std::os::unix::fs::symlink(root.path().join("other/secret"), root.path().join("b/p/x9.csv")).unwrap();
    let root_text = root.path().to_str();
    let find = |prefix: &str| {
        let mut load = load("");
        load.prefix = prefix.into();
        let found = find_files(&load, root_text)?;
        let bucket = root.path().canonicalize().unwrap().join("b");
        Ok::<_, FilesError>(
            found
                .iter()
                .map(|path| path.strip_prefix(&bucket).unwrap().display().to_string())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(find("p/x").unwrap(), ["p/x/deep/3.csv", "p/x1.csv", "p/x2.csv"]);
    assert_eq!(find("p/x1.csv").unwrap(), ["p/x1.csv"]);
    assert_eq!(find("").unwrap().len(), 4);
    assert!(matches!(find("p/../../other/s"), Err(FilesError::Invalid { .. })));
    assert!(matches!(find("p/none"), Err(FilesError::NotFound { .. })));
    assert!(matches!(find_files(&load(""), None), Err(FilesError::NoRoot { .. })));
}
