//! The template, without anything that runs.

use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
#[ignore = "needs tools from PyPI: cargo xtask test"]
fn nothing_is_wrong_with_the_template() {
    let template = root().join("template.yaml");
    let output = servers::sam(&["validate", "--lint"]).unwrap().current_dir(root()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(servers::lint_translated(&template).unwrap(), "");
    // What is wrong with a function's timeout shows only in what the template is translated into.
    let text = std::fs::read_to_string(&template).unwrap();
    let broken = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(broken.path(), text.replace("Timeout: 900", "Timeout: 901")).unwrap();
    assert!(servers::lint_translated(broken.path()).unwrap().contains("901"));
}

/// An update of the stack must not touch what `scale` and `stop` have set.
#[test]
fn the_template_leaves_scale_to_the_commands() {
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    for setting in
        ["ReservedConcurrentExecutions:", "ScalingConfig:", "MaximumConcurrency:", "Enabled: false"]
    {
        assert!(!text.contains(setting), "{setting}");
    }
}

#[test]
fn the_sample_events_are_understood() {
    let read = |name: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(root().join("events").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let event = serverless::StartEvent::parse(read("start.json")).unwrap();
    assert!(!event.scheduled && event.request.workers == Some(5));
    assert!(serverless::StartEvent::parse(read("scheduled-start.json")).unwrap().scheduled);
    let body = read("worker.json")["Records"][0]["body"].as_str().unwrap().to_owned();
    let (run, chunk) = ::aws::message::parse(&body).unwrap();
    assert_eq!(::aws::message::encode(&run, &chunk), body);
    assert_eq!(read("status.json"), serde_json::json!({}));
}
