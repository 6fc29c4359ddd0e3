//! Starts a server for a person: a target to try things on.

use std::path::PathBuf;

use clap::Subcommand;
use servers::{Server, ServerSpec};

use crate::Result;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Start a server, and run it until Ctrl-C. Its data is gone afterwards.
    Start {
        /// Product and version, such as opensearch:2.19.5 or elasticsearch:7.10.2
        server: ServerSpec,
        /// Port to listen on; the one after it is used too
        #[arg(long, default_value_t = 9200)]
        port: u16,
        /// Size of the heap
        #[arg(long, default_value = "1g")]
        heap: String,
        /// Directory for snapshot repositories (given to user nobody when run as root); may be repeated
        #[arg(long = "repo", value_name = "DIR")]
        repos: Vec<PathBuf>,
        /// Setting of the server, NAME=VALUE; may be repeated
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
}

pub(crate) fn run(task: Task) -> Result<()> {
    let Task::Start { server, port, heap, repos, settings } = task;
    let mut spec = server.port(port).heap(&heap);
    spec.repo_dirs = repos;
    spec.settings = settings.into_iter().map(|(name, value)| (name, value.into())).collect();
    eprintln!("starting {spec} ...");
    let mut server = Server::start(&spec)?;
    println!("{}", server.url());
    eprintln!("{spec} is up; Ctrl-C ends it and deletes its data (log: {})", server.log().display());
    match server.wait()? {
        Some(status) => Err(format!("{spec} ended with {status}").into()),
        None => Ok(()),
    }
}

fn setting(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
