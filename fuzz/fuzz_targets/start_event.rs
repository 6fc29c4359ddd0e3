//! Events of the start function: what is understood is written again as an event that means the same.
#![no_main]

// The module of events names its neighbour by the name of its crate, which has the SDKs of AWS in it.
extern crate self as aws;

use event::StartEvent;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[allow(dead_code)]
#[path = "../../crates/aws/src/api.rs"]
pub mod api;
#[allow(dead_code)]
#[path = "../../crates/serverless/src/start/event.rs"]
mod event;

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<api::StartAnswer>(data);
    let _ = serde_json::from_slice::<api::FunctionError>(data);
    let Ok(json) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(event) = StartEvent::parse(json) else { return };
    let mut again = serde_json::to_value(&event.request).expect("a request is JSON");
    again["scheduled"] = event.scheduled.into();
    again["resume_planning"] = event.resume_planning.into();
    let again = StartEvent::parse(again).expect("what was understood");
    assert_eq!(
        (again.request, again.scheduled, again.resume_planning),
        (event.request, event.scheduled, event.resume_planning)
    );
});
