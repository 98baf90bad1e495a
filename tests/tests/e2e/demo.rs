//! The demo, twice: a load that can be repeated, and a dimension that remembers.

use rsqlflow_tests::site::Site;
use serde_json::json;

#[test]
fn the_demo_can_be_repeated() {
    let site = Site::new();
    // Somebody's own workflow of that name: it goes with its schedule, and not in silence.
    site.script("own.sh", "#!/bin/sh\n");
    site.put(&json!({"workflow_id": "retail-load", "schedule": "rate(1 day)", "workflow_stages": [
        {"execution_type": "sequential", "scripts": ["own.sh"]}]}));
    for round in ["first", "second"] {
        let ran = site.rsqlflow(&["demo", "--scale-factor", "0.001"]).expect(0);
        let told = ran.stderr.contains("replaces the item that was there, and its schedule is deleted");
        assert_eq!(told, round == "first", "{}", ran.stderr);
        assert_eq!(site.rsqlflow(&["schedule", "list", "--json"]).expect(0).json(), json!([]));
        for row in ["retail.dim_customer |  150", "retail.dim_part     |  200", "retail.fact_sales   | 6005"]
        {
            assert!(ran.stdout.contains(row), "{round}: no `{row}` in\n{}", ran.stdout);
        }
        let jobs = ran
            .stdout
            .lines()
            .filter(|line| line.contains("completed") && line.contains("i-rsqlflow"))
            .count();
        assert_eq!(jobs, 11, "{round}: {}", ran.stdout);
    }
    // Another day, other prices: every tenth part has a second row, the day before stays in the history.
    let another = ["--param", "load_date=1998-08-03", "--param", "price_change_percent=5"];
    let prefix = "data_prefix=s3://rsqlflow-demo/tpch/sf-0.001";
    let run =
        [&["run", "retail-load", "--id", "day-2", "--wait", "--param", prefix][..], &another[..]].concat();
    site.rsqlflow(&run).expect(0);
    let logs = site.rsqlflow(&["logs", "day-2", "retail/31_dim_part.sh"]).expect(0).stdout;
    assert!(logs.contains("prices changed: 20") && logs.contains("rows added: 20"), "{logs}");
}
