//! `services.yaml`: it is read, or refused in one line that does not repeat a password.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The crate around it has everything else in it.
#[allow(dead_code)]
#[path = "../../cli/src/config/sections.rs"]
mod sections;

use sections::Config;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let s3_and_fs = config.snapshot.is_some_and(|s| s.s3.is_some() && s.fs.is_some());
            assert!(!s3_and_fs);
            assert!(config.target_cluster.is_none_or(|cluster| !cluster.endpoint.is_empty()));
        }
        Err(why) => assert!(!why.is_empty() && !why.contains('\n')),
    }
    // As the password of a file that is right otherwise.
    let file =
        format!("target_cluster:\n  endpoint: x\n  basic_auth: {{username: u, password: hunter2{text}}}\n");
    if let Err(why) = Config::parse(&file) {
        assert!(!why.contains("hunter2"), "{why}");
    }
});
