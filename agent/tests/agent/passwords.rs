//! Hostile passwords, printed by real programs in every form that they have: nothing of one leaves the host.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::fake_aws::FakeAws;
use crate::world::{Told, World};

/// Each has words of letters and digits, which are written alike in every form and must be seen in none.
fn passwords() -> Vec<String> {
    let long = format!("Kq7aVdLong{}Wm4tRzEnd", "x9$'".repeat(72));
    assert!(long.len() >= 300);
    [
        r#"Kq7aVd'"Ju5pXc"''Wm4tRz'"#,
        "Kq7aVd$HOME$$${Ju5pXc}Wm4tRz",
        "Kq7aVd`Ju5pXc`Wm4tRz",
        "Kq7aVd!Ju5pXc!!Wm4tRz",
        "  Kq7aVd  Ju5pXc Wm4tRz ",
        "Kq7aVd Ju5pXc\nWm4tRz\n\nBn8gFs Hy2kLw",
        "Kq7aVd Ju5pXc\r\nWm4tRz",
        "Kq7aVdöäüßéWm4tRzŁ€",
        "Kq7aVd🦀Ju5pXc👩‍💻Wm4tRz",
        "Kq7aVd%41%%Ju5pXc%sWm4tRz",
        "Kq7aVd&amp;<Ju5pXc>&Wm4tRz",
        r"Kq7aVd\n\\t\0101Ju5pXc\\Wm4tRz\",
        "-Kq7aVd --Ju5pXc=Wm4tRz/+",
        &long,
        "Kq7aVd\u{1b}[31m\u{7}\u{1}\tJu5pXc\u{7f}Wm4tRz",
        "Kq7aVd'\"$`! \\é🦀%&<>\u{1}~#;|*?[](){}^=,:/+@_.-Ju5pXc\nWm4tRz\rBn8gFs",
        "pa$$wörd`1!Kq7aVd",
    ]
    .map(str::to_owned)
    .to_vec()
}

const BASH: &str = r#"#!/bin/bash
. "$1/get_redshift_creds.sh" "$2"
P=$RSPASSWORD
export P
shopt -s extglob
say() { printf '\n[%s] ' "$*"; }
forms() {
say raw; printf '%s\n' "$P"; say echo; echo "$P"; say word; set -f; echo $P; set +f
say q; printf '%q\n' "$P"; say Q; echo "${P@Q}"; say A; echo "${P@A}"; say E; echo "${P@E}"
say export; export -p; say declare; declare -p P; say set; set; say env; env
say trace; set -x; : "$P" "x=$P"; set +x
say posix; (set -o posix; set; export -p)
}
forms
LC_ALL=C
forms
say read; read -d '' READ <<< "$P"; printf '%s\n' "$READ"
say cat; printf '%s\n' "$P" | cat -v
say base64; printf '%s' "$P" | base64; echo "$P" | base64; printf '%s' "$USER:$P" | base64 -w64; printf 'u:%s\n' "$P" | base64 -w0
say dash; /bin/sh DIR/forms.sh; say python; python3 DIR/forms.py
say last; printf '%q\n' "$P"; printf '%s\n' "$P"
exit 7
"#;

const SH: &str = r#"set -u
echo "$P"; printf '%b\n' "$P"; export -p; set; env
set -x; : "$P" "x=$P"; set +x
"#;

const PYTHON: &str = r#"
import base64, csv, html, io, json, os, pprint, quopri, shlex, sys
from urllib.parse import quote, quote_plus, urlencode
from xml.sax.saxutils import escape, quoteattr
p = os.environ["P"]
b = p.encode()
sql = p.replace("'", "''")
text = json.dumps({"password": p})
row = io.StringIO()
csv.writer(row).writerow(["x", p])
upper = lambda s: "".join(c.upper() if c in "abcdef" else c for c in s)
say = [
    p, text, json.dumps(p, ensure_ascii=False), json.dumps(text), repr(text), text.replace("/", "\\/"),
    "".join(f"\\u{ord(c):04X}" if ord(c) < 0x10000 and not c.isalnum() else c for c in p),
    repr(p), ascii(p), repr(b), repr([p, "x'"]), repr(p + "'"), repr(p + '"'), str(b), pprint.pformat({"p": p}, width=1000),
    p.encode("unicode_escape").decode(),
    quote(p), quote_plus(p), quote(p, safe=""), urlencode({"p": p}), quote(p, safe="!'()*~"),
    "".join(f"%{x:02x}" if not chr(x).isalnum() or x > 127 else chr(x) for x in b),
    f"'{sql}'", "E'" + sql.replace("\\", "\\\\") + "'", '"' + p.replace('"', '""') + '"', f"$${p}$$",
    html.escape(p), escape(p), quoteattr(p), p.encode("ascii", "xmlcharrefreplace").decode(),
    "".join(f"&#x{ord(c):X};" if not c.isalnum() else c for c in p),
    "".join(f"&#{ord(c)};" if not c.isalnum() else c for c in p),
    p.encode("ascii", "html").decode() if False else html.escape(p, quote=False),
    shlex.quote(p), row.getvalue(), b.hex(), b.hex().upper(),
    base64.b64encode(b).decode(), base64.urlsafe_b64encode(b).decode(), base64.encodebytes(b).decode(),
    base64.b64encode(b"u:" + b).decode().rstrip("="), base64.encodebytes(b"etl:" + b).decode(),
    "Authorization: Basic " + base64.b64encode(b"etluser:" + b + b"\n").decode(),
]
# Without soft line breaks, which break the password and not its characters.
say += [quopri.encodestring(line).decode().replace("=\n", "") for line in b.splitlines()]
sys.stdout.reconfigure(newline="")
for number, form in enumerate(say):
    print(f"[{number}] {form}")
"#;

/// What of a password must be seen nowhere: its words, and what they are in base64 and hexadecimal digits.
fn needles(password: &str) -> BTreeSet<String> {
    let words = password.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 6);
    let mut needles = BTreeSet::new();
    for word in words {
        needles.insert(word.to_owned());
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for before in 0..3 {
                let encoded = engine.encode([&[0; 2][..before], word.as_bytes()].concat());
                needles.insert(encoded[(before * 8).div_ceil(6)..(before + word.len()) * 8 / 6].to_owned());
            }
        }
        let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        needles.extend([hex.to_uppercase(), hex]);
    }
    needles
}

#[tokio::test]
async fn no_form_of_a_hostile_password_leaves_the_host() {
    for password in passwords() {
        let world = World::new().await;
        world.aws.always("GetSecretValue", FakeAws::secret("v1", &password));
        let dir = world.dir.path();
        for (name, text) in [("forms.sh", SH), ("forms.py", PYTHON)] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let told = world.run(&BASH.replace("DIR", &dir.display().to_string())).await;
        let Told::Failure(_, failure) = told else { panic!("succeeded") };
        world.settled().await;
        let job = std::fs::read_dir(world.config.data_dir.join("jobs")).unwrap().next().unwrap().unwrap();
        let local = std::fs::read(job.path().join("1.log")).unwrap();
        let local = String::from_utf8_lossy(&local).into_owned();
        assert!(!local.contains("Traceback") && !local.contains("rror:"), "{local}");
        let needles = needles(&password);
        let printed = needles.iter().filter(|needle| local.contains(*needle)).count();
        assert!(printed >= 6, "all kinds are printed: {printed} of {needles:?}");
        let shipped = world.events().join("\n");
        for needle in &needles {
            let seen: Vec<&str> = shipped.lines().filter(|line| line.contains(needle)).collect();
            assert!(seen.is_empty(), "{password:?} is seen as {needle}: {seen:#?}");
            assert!(!failure.message.contains(needle), "{password:?}: {}", failure.message);
        }
        assert!(failure.message.contains("********"), "{}", failure.message);
        // Nor in anything else that was told to anyone.
        for call in world.aws.all_calls() {
            let text = call.body.to_string();
            assert!(!needles.iter().any(|needle| text.contains(needle)), "{}: {text}", call.action);
        }
        assert!(shipped.matches("********").count() >= 60, "{shipped}");
    }
}
