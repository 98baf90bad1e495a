//! Where RSQL says nothing psql decides: the same script, the same stdout.

use crate::cluster::Cluster;

const SCRIPTS: [&str; 9] = [
    "create table t (id int primary key, name text, price numeric(10,2), at date);\n\
     insert into t values (1, 'one', 1.5, '2024-02-29'), (20, E'two\\nlines', null, null), (3, '漢字', -100, '2024-01-01');\n\
     select * from t order by id;\nselect id as \"a long heading\", price from t order by id;\n\
     select name from t order by id;\nselect * from t where false;\nselect;\n\
     update t set price = 0;\ndelete from t where id = 3 returning id;\ntruncate t;\nexplain (costs off) select 1;",
    "\\x on\nselect 1 as id, 'some text' as \"a name\" union all select 22, E'a\\nb';\nselect 1 where false;\n\\x off\n\\t on\nselect 1, 2;\n\\t off\n\\a\nselect 1 as a, null as b;\n\\pset null NULL\n\\pset fieldsep ';'\nselect 1 as a, null as b;\n\\x\nselect 1 as a, 2 as b union all select 3, 4;\n",
    "\\pset format csv\nselect 1 as a, 'x,y' as b, 'q\"q' as c, null as d;\n\\pset format aligned\n\\pset border 2\nselect 1 as a, 'b' as b;\n\\pset border 0\nselect 1 as a, 'b' as b, E'm\\nn' as c, 'd' as d;\n\\pset footer off\nselect 1 as a;\n",
    "select true as b, 1.5::float8 as f, 7::oid as o, '$1'::money as m, interval '1 day' as i, array[1,2] as a, E'tab\\there' as t, E'bell\\x07' as c;\n",
    "\\set v 'it''s'\n\\set w a b c\n\\echo :v :w :'v' :\"v\" :unset 'quo''ted' \"dq\" x'y'z :{?v} :{?nope}\nselect :'v' as v, ':v' as raw;\n\\echo -n no newline\n\\echo\n\\unset v\n\\echo :v\n\\echo `echo shell` `printf 'a\\nb\\n'`\n",
    "\\if true\n\\echo 1\n\\elif true\n\\echo 2\n\\else\n\\echo 3\n\\endif\n\\if off\nselect 1\n\\if true\n\\echo no\n\\endif\n\\else\nselect 2 as two;\n\\endif\nselect 'split\n\\if 1 in a string' as s\n\\if true\n, 2 as b\n\\else\n, 3 as c\n\\endif\n;\n\\if nonsense\n\\echo no\n\\else\n\\echo yes\n\\endif\n",
    "begin;\ncreate table x (a int);\nselect * from nope;\nselect 1;\ncommit;\nselect count(*) from pg_class where relname = 'x';\nselect 1 as a \\gset p_\n\\echo :p_a\nselect 1/0;\n\\echo :SQLSTATE :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE\nselect 1\\; select 2;\nselect 5 as last",
    "create temp table c (a int, b text);\ncopy c from stdin;\n1\tone\n2\ttwo\n\\.\nselect * from c;\ncopy c to stdout;\ncopy (select 3) to stdout with csv header;\n\\p\nselect $$ ; $$, /* ; /* ; */ */ 1 -- ;\n;\ncreate function f() returns int begin atomic select 1; end;\nselect f();\n",
    "do $$ begin raise notice 'n'; raise warning 'w'; raise info 'i'; end $$;\nvalues (1), (2);\nshow search_path;\nset search_path to public;\nprepare p as select 1;\nexecute p;\nfetch 1 from nothing;\nbegin; declare c cursor for values (1),(2); fetch all from c; commit;\nlock table nope;\n\
     select aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, cccccccccccccccccccccccccccc, 1;\n\
     select 1 as aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, 2 as bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, cccccccccccccccccccccccccccc, 1, 2, 3, 4, 5;\n\
     select 1 as aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, 2 as bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, ccc;\n",
];

#[test]
fn what_psql_prints_is_printed() {
    let cluster = Cluster::start();
    let reset = || {
        let statements = "set client_min_messages = error; drop schema public cascade; create schema public";
        assert_eq!(cluster.psql(&["-q", "-c", statements], "").status, 0);
    };
    let mut differences = String::new();
    for script in SCRIPTS {
        reset();
        let psql = cluster.psql(&[], script);
        reset();
        let ours = cluster.rsql(&[], script);
        let same = ours.stdout == psql.stdout
            && ours.status == psql.status
            && as_psql(&ours.stderr) == without_conditions(&psql.stderr);
        if !same {
            differences += &format!("--- script\n{script}\n--- psql\n{psql:#?}\n--- ours\n{ours:#?}\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Our errors without what psql does not have: the prefix and the SQLSTATE line.
fn as_psql(stderr: &str) -> String {
    let stderr = stderr.replace("rsql: ERROR:  ", "ERROR:  ");
    let lines = stderr.split_inclusive('\n').filter(|line| !line.starts_with("SQLSTATE: "));
    without_conditions(&lines.collect::<String>())
}

/// RSQL's conditions are richer, and so is what is said about them.
fn without_conditions(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.contains("\\if")).collect()
}
