use super::*;

fn definition(template: &Value, machine: &str) -> String {
    template["Resources"][machine]["Properties"]["DefinitionString"]["Fn::Sub"].as_str().unwrap().into()
}

#[test]
fn the_state_machines_are_the_files_that_the_tests_run() {
    let template = value().unwrap();
    for (machine, file) in [("SequentialMachine", 0), ("ParallelMachine", 1), ("MasterMachine", 2)] {
        let definition = definition(&template, machine);
        assert_eq!(definition.replace("${AWS::Partition}", "aws"), FILES[file].1, "{machine}");
        // Nothing else is put in, and no partition stands fast.
        assert!(!FILES[file].1.contains("${"), "{machine}");
        assert!(!definition.contains("arn:aws:"), "{machine}");
    }
    let document = &template["Resources"]["RunScript"]["Properties"]["Content"];
    assert_eq!(*document, serde_json::from_str::<Value>(FILES[3].1).unwrap());
}

#[test]
fn every_file_is_named_once_and_no_tag_is_left() {
    for (name, _) in FILES {
        assert_eq!(SOURCE.matches(name).count(), 1, "{name}");
    }
    let rendered = yaml().unwrap();
    assert!(!rendered.lines().any(|line| line.contains(": !")), "an intrinsic function in the short form");
}

/// What CloudFormation would not take back: an empty output, a parameter without a pattern.
#[test]
fn parameters_have_patterns_and_descriptions() {
    let template = value().unwrap();
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        let bounds = ["AllowedPattern", "AllowedValues", "MaxValue"];
        assert!(bounds.iter().any(|bound| parameter.get(bound).is_some()), "{name} takes anything");
        assert!(parameter["Description"].is_string(), "{name}");
    }
    for (name, output) in template["Outputs"].as_object().unwrap() {
        assert!(output["Description"].is_string(), "{name}");
    }
}

/// What is lost with a table cannot be made again.
#[test]
fn tables_and_script_logs_outlive_the_stack() {
    let template = value().unwrap();
    for (name, resource) in template["Resources"].as_object().unwrap() {
        // Hosts enter themselves again.
        let kept =
            (resource["Type"] == "AWS::DynamoDB::Table" && name != "HostsTable") || name == "ScriptLogs";
        assert_eq!(kept, resource["DeletionPolicy"] == "Retain", "{name}");
        assert_eq!(kept, resource["UpdateReplacePolicy"] == "Retain", "{name}");
    }
}

/// Names of what people and other programs look for.
#[test]
fn the_outline() {
    let template = value().unwrap();
    let mut lines = Vec::new();
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        let default = parameter.get("Default").map_or("required".into(), |default| format!("= {default}"));
        lines.push(format!("parameter {name} {default}"));
    }
    for (name, resource) in template["Resources"].as_object().unwrap() {
        lines.push(format!("resource {name} {}", resource["Type"].as_str().unwrap()));
    }
    for name in template["Outputs"].as_object().unwrap().keys() {
        lines.push(format!("output {name}"));
    }
    insta::assert_snapshot!(lines.join("\n"));
}
