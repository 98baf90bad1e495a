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

/// What is lost with a table cannot be made again; other stacks of the Region need the document.
#[test]
fn tables_logs_and_the_document_outlive_the_stack_and_not_a_failed_first_deployment() {
    let template = value().unwrap();
    for (name, resource) in template["Resources"].as_object().unwrap() {
        // Hosts enter themselves again.
        let kept = (resource["Type"] == "AWS::DynamoDB::Table" && name != "HostsTable")
            || ["ScriptLogs", "RunScript"].contains(&name.as_str());
        // What a first deployment made and rolls back goes, or the next one would find the name taken.
        assert_eq!(kept, resource["DeletionPolicy"] == "RetainExceptOnCreate", "{name}");
        assert_eq!(kept, resource["UpdateReplacePolicy"] == "Retain", "{name}");
        assert_ne!(resource["DeletionPolicy"], "Retain", "{name}");
    }
}

/// Another Prefix would make new, empty tables. It changes the description of policies that have a name, which
/// CloudFormation refuses: "If you specify a name, you cannot perform updates that require replacement of this resource."
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-managedpolicy.html>
#[test]
fn an_update_that_changes_the_prefix_is_refused() {
    let template = value().unwrap();
    for policy in ["HostPolicy", "ReadOnlyPolicy", "OperatorPolicy"] {
        let properties = &template["Resources"][policy]["Properties"];
        let text = |key: &str| properties[key]["Fn::Sub"].as_str().unwrap().to_owned();
        let name = text("ManagedPolicyName");
        assert!(name.starts_with("${AWS::StackName}-${AWS::Region}-"), "{policy}: names are of all Regions");
        assert!(!name.contains("${Prefix}"), "{policy} would be replaced by one of another name");
        assert!(text("Description").contains("${Prefix}"), "{policy}");
    }
}

#[test]
fn messages_are_kept_encrypted_and_alarms_may_still_publish() {
    let template = value().unwrap();
    let key = &template["Resources"]["Topic"]["Properties"]["KmsMasterKeyId"]["Ref"];
    let policy = &template["Resources"][key.as_str().unwrap()]["Properties"]["KeyPolicy"]["Statement"];
    let services: Vec<&Value> =
        policy.as_array().unwrap().iter().map(|statement| &statement["Principal"]["Service"]).collect();
    assert!(services.contains(&&Value::from("cloudwatch.amazonaws.com")), "{policy}");
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

/// The commands of a text that begin so, each with its continuation lines.
fn commands(text: &str, beginning: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| line.starts_with(beginning)).map(str::to_owned).collect()
}

/// Options, parameters and files of the lines that people copy.
#[test]
fn the_deploy_lines_that_people_type_fit_the_template() {
    use clap::CommandFactory;
    let template = value().unwrap();
    let parameters = template["Parameters"].as_object().unwrap();
    let help = crate::args::Cli::command().find_subcommand_mut("template").unwrap().render_long_help();
    let pages = [
        ("README.md", include_str!("../../../README.md").to_string()),
        ("docs/aws.md", include_str!("../../../docs/aws.md").to_string()),
        ("template --help", help.to_string()),
    ];
    for (page, text) in &pages {
        let [deploy] = &commands(text, "aws cloudformation deploy")[..] else { panic!("{page}: one line") };
        assert!(deploy.contains(" --capabilities CAPABILITY_NAMED_IAM "), "{page}: policies have names");
        // <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
        assert!(
            yaml().unwrap().len() > 51_200 && deploy.contains(" --s3-bucket "),
            "{page}: it is too large"
        );
        let (_, given) = deploy.split_once("--parameter-overrides").unwrap();
        let given: Vec<(&str, &str)> =
            given.split_whitespace().map(|one| one.split_once('=').unwrap()).collect();
        for (name, _) in &given {
            assert!(parameters.contains_key(*name), "{page}: {name} is no parameter");
        }
        for (name, parameter) in parameters {
            let there = given.iter().any(|(given, _)| given == name) || parameter.get("Default").is_some();
            assert!(there, "{page}: {name} has no default");
        }
        // Lambda does not read a key again, so the same lines typed again need another one.
        let key = given.iter().find(|(name, _)| *name == "TriggerKey").unwrap().1;
        let keys = commands(text, "KEY=rsqlflow-trigger-$(date ");
        assert!(key == "$KEY" && keys.len() == 1, "{page}: {key}, {keys:?}");
        let copies = commands(text, "aws s3 cp target/lambda/rsqlflow-trigger-x86_64.zip");
        assert!(
            copies.iter().any(|copy| copy.ends_with(&format!("s3://BUCKET/{key}"))),
            "{page}: {copies:?}"
        );
        assert!(!commands(text, "rsqlflow template > rsqlflow.yaml").is_empty(), "{page}");
    }
}
