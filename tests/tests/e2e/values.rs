//! Values with quotes, spaces, newlines and non-ASCII text arrive unchanged, and are never read by a shell.

use rsqlflow_tests::site::Site;
use serde_json::json;

#[test]
fn arguments_and_parameters_arrive_as_they_were_written() {
    let site = Site::new();
    let seen = site.path("seen");
    let nasty = "it's \"quoted\" $HOME `id` $(id) ; rm -rf / \\ \t%41+ größe 数据 🚀\nsecond line ";
    site.script(
        "show me.sh",
        &format!(
            "#!/bin/sh\nprintf '%s\\0' \"$3\" \"$4\" \"$word\" \"$own\" \"$given\" \"$JOB_NAME\" > '{}'\n",
            seen.display()
        ),
    );
    site.put(&json!({"workflow_id": "w", "parameters": {"word": nasty, "own": "item", "given": "item"}, "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "stage_description": nasty, "scripts": [
            {"script": "show me.sh", "job_name": "größe 'laden'", "arguments": [nasty, ""],
             "parameters": {"own": nasty, "given": "script"}}]}]}));
    site.rsqlflow(&["run", "w", "--id", "r", "--param", &format!("given={nasty}"), "--wait"]).expect(0);
    let seen = std::fs::read_to_string(seen).unwrap();
    let values: Vec<&str> = seen.split('\0').collect();
    assert_eq!(values, [nasty, "", nasty, nasty, nasty, "größe 'laden'", ""]);
}

#[test]
fn a_sql_file_has_them_as_variables() {
    let site = Site::new();
    let word = "it's größe; drop table 数据 🚀";
    std::fs::write(
        site.path("scripts/look.sql"),
        "select 'seen' as w where :'word' = 'it''s größe; drop table 数据 🚀' and :'1' = 'first' and :ATTEMPT = 1;\n\
         \\if :ACTIVITYCOUNT <> 1\n\\exit 9\n\\endif\n\\echo :word of :WORKFLOW_EXECUTION_ID\n",
    )
    .unwrap();
    site.put(&json!({"workflow_id": "w", "parameters": {"word": word}, "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y",
         "scripts": [{"script": "look.sql", "arguments": ["first"]}]}]}));
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(0);
    let logs = site.rsqlflow(&["logs", "r"]).expect(0).stdout;
    assert!(logs.contains(&format!("{word} of r")), "{logs}");
}
