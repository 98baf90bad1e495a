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
            "#!/bin/sh\nprintf '%s\\0' \"$3\" \"$4\" \"$WORD\" \"$OWN\" \"$GIVEN\" \"$JOB_NAME\" > '{}'\n",
            seen.display()
        ),
    );
    site.put(&json!({"workflow_id": "w", "parameters": {"WORD": nasty, "OWN": "item", "GIVEN": "item"}, "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "stage_description": nasty, "scripts": [
            {"script": "show me.sh", "job_name": "größe 'laden'", "arguments": [nasty, ""],
             "parameters": {"OWN": nasty, "GIVEN": "script"}}]}]}));
    site.rsqlflow(&["run", "w", "--id", "r", "--param", &format!("GIVEN={nasty}"), "--wait"]).expect(0);
    let seen = std::fs::read_to_string(seen).unwrap();
    let values: Vec<&str> = seen.split('\0').collect();
    assert_eq!(values, [nasty, "", nasty, nasty, nasty, "größe 'laden'", ""]);
}
