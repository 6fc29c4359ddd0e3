//! What a simulation takes place in: a target that can be killed, behind a proxy that answers wrongly.

use super::Settings;
use super::answers::Memory;
use super::proxy::Proxy;
use super::weather::Weather;
use crate::support::{Documents, create_indices};
use serde_json::Value;
use servers::{Http, Server, ServerSpec};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const TARGET: &str = "opensearch:2.19.5";

/// The target and everything around it.
pub(crate) struct World {
    server: Arc<Mutex<Server>>,
    coming_back: Option<JoinHandle<()>>,
    url: String,
    /// The target as the run sees it.
    pub(crate) proxy: Proxy,
    pub(crate) weather: Arc<Weather>,
    pub(crate) memory: Arc<Memory>,
}

impl World {
    /// Starts a target of its own, so that it can be killed with -9 in the middle of its work, and started again with
    /// what it had kept on disk: a document that it acknowledged must be among that.
    pub(crate) fn new(settings: &Settings) -> World {
        let spec: ServerSpec = TARGET.parse().unwrap();
        let server = Server::start(&spec.heap("1g")).unwrap();
        let url = server.url().to_owned();
        let (weather, memory) =
            (Arc::new(Weather::new(settings.seed, settings.wrong.clone())), Arc::new(Memory::default()));
        let proxy = Proxy::start(&url, {
            let (weather, memory) = (weather.clone(), memory.clone());
            move |head| weather.of_target(head, &memory)
        });
        World { server: Arc::new(Mutex::new(server)), coming_back: None, url, proxy, weather, memory }
    }

    /// The target itself.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Kills the target with -9, and lets it come back by itself; `false` if it has not yet come back from the last time.
    pub(crate) fn crash(&mut self) -> bool {
        if !self.is_up() {
            return false;
        }
        self.wait();
        self.server.lock().unwrap().kill().unwrap();
        let server = self.server.clone();
        self.coming_back = Some(std::thread::spawn(move || server.lock().unwrap().restart().unwrap()));
        true
    }

    fn is_up(&self) -> bool {
        self.coming_back.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the target is back.
    fn wait(&mut self) {
        if let Some(thread) = self.coming_back.take() {
            thread.join().expect("the target comes back");
        }
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm_down(&mut self) {
        self.weather.turn_calm();
        self.wait();
    }

    /// Empties the target, and creates the indices of these documents.
    pub(crate) fn empty(&self, documents: &Documents) {
        let http = Http::new(&self.url);
        http.delete("/_data_stream/*").unwrap();
        http.delete("/*,-.*").unwrap();
        create_indices(&self.url, documents, &[]);
    }

    /// Fails if a report, which was made before, counts documents that the target does not hold.
    pub(crate) fn assert_stored(&self, report: &Value, seed: u64) {
        let number = |name: &str| report[name].as_u64().unwrap_or_default();
        let done = number("documents_done") - number("documents_failed");
        if !self.is_up() {
            return;
        }
        let http = Http::new(&self.url);
        let counted = http
            .post("/_refresh", &Value::Null)
            .and_then(|_| http.get("/*/_count?expand_wildcards=open&allow_no_indices=true")?.json());
        // Just after its restart it may not have opened all of its shards.
        let Ok(counted) = counted else { return };
        if counted["_shards"]["successful"] != counted["_shards"]["total"] {
            return;
        }
        let count = counted["count"].as_u64().unwrap();
        assert!(
            done <= count,
            "seed {seed}: {done} documents count as done, the target holds {count}: {report:#}"
        );
    }
}

/// Sends a signal to a process; whether it was there.
pub(crate) fn signal(name: &str, pid: u32) -> bool {
    let sent = Command::new("kill").args([name, &pid.to_string()]).output();
    sent.is_ok_and(|output| output.status.success())
}

/// Kills a process with -9; whether it was there.
pub(crate) fn kill(pid: u32) -> bool {
    signal("-9", pid)
}
