//! The page: one table of actions, one of the language, and the differences in words.

use std::collections::BTreeMap;

use rsqlflow_tests::peers::{Kind, Patches};

use super::{Answer, Probe};

const HEAD: &str = "\
# Conformance

What rsqlflow uses of AWS, and whether three servers do it as AWS documents it: the embedded default, and MiniStack 1.5.33
and moto 5.2.5, which others wrote. No account is reachable from the tests, so AWS itself is here by its documentation
only: every line links to it.

This page is written by a test, `tests/tests/aws/conformance/`, from what the servers answered; it fails when they answer
otherwise. `RSQLFLOW_UPDATE=1 cargo nextest run -p rsqlflow-tests the_page_says` writes it anew.

- **yes**: as documented.
- **patched**: as documented with the patches of `tests/peers/`, not without.
- **no**: not as documented, with the patches as well; the number leads to how it differs.

The embedded default has no CloudFormation: nothing is deployed to it.
";

fn cell(
    at: usize,
    kind: Kind,
    answers: &BTreeMap<(Kind, Patches), Vec<Answer>>,
    notes: &mut Vec<String>,
    about: &str,
) -> String {
    let with = &answers[&(kind, Patches::Applied)][at];
    let without = answers.get(&(kind, Patches::None)).map(|all| &all[at]);
    match (with, without) {
        (Ok(()), None | Some(Ok(()))) => "yes".into(),
        (Ok(()), Some(Err(_))) => "patched".into(),
        (Err(how), _) => {
            notes.push(format!("{}. {about} on {}: {how}.", notes.len() + 1, kind.name()));
            format!("no ({})", notes.len())
        }
    }
}

pub(super) fn render(
    probes: &[(&str, Vec<Probe>)],
    answers: &BTreeMap<(Kind, Patches), Vec<Answer>>,
) -> String {
    let mut page = HEAD.to_owned();
    let mut notes = Vec::new();
    let mut at = 0;
    for (title, probes) in probes {
        page.push_str(&format!(
            "\n## {title}\n\n| | expected | embedded | MiniStack | moto |\n| --- | --- | --- | --- | --- |\n"
        ));
        for probe in probes {
            let cells = Kind::ALL.map(|kind| cell(at, kind, answers, &mut notes, probe.about));
            page.push_str(&format!(
                "| [{}]({}) | {} | {} |\n",
                probe.about,
                probe.documented,
                probe.expects,
                cells.join(" | ")
            ));
            at += 1;
        }
    }
    if !notes.is_empty() {
        page.push_str("\n## Differences\n\n");
        for note in notes {
            page.push_str(&note);
            page.push('\n');
        }
    }
    page
}
