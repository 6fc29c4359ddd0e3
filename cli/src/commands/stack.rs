//! A backfill on AWS, steered from here. What its resources are called is read from the stack.

use super::control::stopping;
use super::state::State;
use super::status::{exit_of, print_conclusion};
use super::{Context, print_json, print_line};
use crate::args::{RepositoryArgs, StartArgs, StateArgs};
use crate::exit::{CommandError, Exit, Result};
use crate::settings::{self, RepositorySetting, StackSetting};
use aws::api::{FunctionError, StartAnswer, StartRequest};
use aws::{DynamoCheckpoints, Functions, LambdaFleet, S3FailedDocuments, Sdk, SdkOptions, Stack};
use backfill::model::{Planning, Run, RunState};
use backfill::ports::{Checkpoints, Clock, Fleet, SystemClock};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often it is looked whether workers have handed back.
const POLL: Duration = Duration::from_secs(1);

/// How often a request is tried: somebody waits for the answer.
const ATTEMPTS: u32 = 4;

/// A stack and the clients that reach its resources.
pub(super) struct StackState {
    pub(super) stack: Stack,
    pub(super) checkpoints: DynamoCheckpoints,
    pub(super) failed: S3FailedDocuments,
    pub(super) fleet: LambdaFleet,
    functions: Functions,
}

/// Reads what a stack consists of.
async fn read(setting: &StackSetting) -> Result<(Sdk, Stack)> {
    let options =
        SdkOptions { region: setting.region.clone(), attempts: Some(ATTEMPTS), ..SdkOptions::default() };
    let sdk = Sdk::load(&options).await?;
    let stack = Stack::read(&sdk.cloudformation(), &setting.name).await?;
    Ok((sdk, stack))
}

impl StackState {
    /// Reads what the stack consists of.
    pub(super) async fn open(setting: &StackSetting) -> Result<StackState> {
        let (sdk, stack) = read(setting).await?;
        Ok(StackState {
            checkpoints: DynamoCheckpoints::new(sdk.dynamodb(), &stack.table),
            failed: S3FailedDocuments::open(sdk.s3(), &stack.failed_documents)?,
            fleet: LambdaFleet::new(sdk.lambda(), &stack.worker_function, &stack.mapping_uuid),
            functions: Functions::new(sdk.invoking()),
            stack,
        })
    }

    /// Invokes a function of the stack and waits for its answer.
    async fn invoke(&self, function: &str, request: &(impl Serialize + Sync)) -> Result<Value> {
        let value = self.functions.invoke(function, request).await?;
        match serde_json::from_value::<FunctionError>(value.clone()) {
            Ok(FunctionError { error, exit }) => Err(CommandError::new(Exit::from_code(exit), error)),
            Err(_) => Ok(value),
        }
    }

    /// Has a run concluded whose chunks have all ended, rather than wait for the schedule to do it.
    pub(super) async fn conclude(&self) -> Result<()> {
        let Some(run) = self.checkpoints.latest_run().await? else { return Ok(()) };
        if run.state != RunState::Running || run.planning != Planning::Complete {
            return Ok(());
        }
        let summary = self.checkpoints.summary(&run.id, SystemClock.now()).await?;
        if summary.chunks_done + summary.chunks_failed < summary.chunks_total {
            return Ok(());
        }
        // Whoever only looks need not be allowed to: then the schedule concludes it within a minute.
        if let Err(error) = self.invoke(&self.stack.status_function, &json!({})).await {
            tracing::info!(%error, "the run is not concluded yet");
        }
        Ok(())
    }

    /// Refuses what must not be done while workers may be at the run.
    pub(super) async fn check_idle(&self, run: &Run, advice: &str) -> Result<()> {
        let leased = self.checkpoints.summary(&run.id, SystemClock.now()).await?.chunks_leased;
        if run.state == RunState::Running || leased > 0 {
            return Err(CommandError::other(format!(
                "run {} of the stack {} is at work; {advice}",
                run.id, self.stack.name
            )));
        }
        Ok(())
    }

    /// Sets the number of workers of a run; at once if it is `active`.
    pub(super) async fn scale(&self, run: &Run, workers: u32, active: bool) -> Result<()> {
        if active {
            self.fleet.scale(workers).await?;
        }
        self.checkpoints.set_desired_workers(&run.id, workers).await?;
        Ok(())
    }

    /// Stops a run, and waits until its workers have handed back.
    pub(super) async fn stop(&self, context: &Context<'_>, run: &Run, timeout: Duration) -> Result<()> {
        if run.state == RunState::Running {
            self.checkpoints.set_state(&run.id, RunState::Stopped, SystemClock.now(), &run.damage).await?;
        }
        self.fleet.stop().await?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            let leased = self.checkpoints.summary(&run.id, SystemClock.now()).await?.chunks_leased;
            if leased == 0 {
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                context.say(&stopping(leased));
            }
            if begun.elapsed() >= timeout {
                let message = format!(
                    "{leased} workers still finish what is in flight; they hand back by themselves, and no other starts"
                );
                return Err(CommandError::new(Exit::GaveUpWaiting, message));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// `backfill start` with a stack: its start function plans and enqueues, where snapshot and target can be reached and with
/// the settings that the workers have.
pub(super) async fn start(context: &Context<'_>, args: &StartArgs, setting: &StackSetting) -> Result<Exit> {
    let request = request(context, args)?;
    let state = StackState::open(setting).await?;
    check_target(&state.stack, args)?;
    let say = |text: &str| context.say(text);
    let mut created = false;
    let answer = loop {
        let value = state.invoke(&state.stack.start_function, &request).await?;
        let answer: StartAnswer = serde_json::from_value(value).map_err(|error| {
            CommandError::other(format!(
                "the answer of {} is not understood ({error}); deploy this version's template",
                state.stack.start_function
            ))
        })?;
        for warning in &answer.warnings {
            say(&format!("warning: {warning}"));
        }
        created |= answer.created;
        if !answer.unreadable.is_empty() {
            break StartAnswer { created, ..answer };
        }
        match answer.planning {
            // Its time was up: it goes on from there.
            Planning::Shards if answer.state == RunState::Running => say("Planning: shards are read."),
            Planning::Messages(sent) if answer.state == RunState::Running => {
                say(&format!("Planning: {sent} chunks are in the queue."));
            }
            _ => break StartAnswer { created, ..answer },
        }
    };
    if context.json {
        print_json(&answer)?;
    } else {
        for shard in &answer.unreadable {
            say(&format!("cannot be read for now: {shard}"));
        }
        print_line(&sentence(&answer.message));
        if answer.state == RunState::Running {
            print_line(
                "It goes on by itself: see `backfill status --deep-check`, or wait with `backfill status --wait`.",
            );
        }
    }
    // A start on this machine says how its run has ended, too. Meanwhile it may have been stopped, perhaps by a worker.
    if answer.state == RunState::Stopped || answer.state.is_finished() && !answer.created {
        let report = State::Stack(Box::new(state)).report().await?;
        if !context.json {
            print_conclusion(&report);
        }
        return Ok(exit_of(&report));
    }
    Ok(if answer.unreadable.is_empty() { Exit::Done } else { Exit::Snapshot })
}

/// A text that begins with a capital letter and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

/// What the start function is asked. What is left out is as the stack was deployed.
fn request(context: &Context<'_>, args: &StartArgs) -> Result<StartRequest> {
    let snapshot = context.config.snapshot.as_ref();
    let s3 = snapshot.and_then(|s| s.s3.as_ref());
    let repository = args.repository.repo.clone().or_else(|| s3.map(|s3| s3.repo_uri.clone()));
    if repository.as_ref().is_some_and(|r| !r.starts_with("s3://"))
        || repository.is_none() && snapshot.is_some_and(|s| s.fs.is_some())
    {
        return Err(CommandError::usage(
            "a stack reads from S3: give --repo s3://bucket/prefix, or leave it to the stack's own repository",
        ));
    }
    if args.send.compress.is_some() {
        return Err(CommandError::usage("--compress is for ndjson targets, which a stack cannot write"));
    }
    Ok(StartRequest {
        repository,
        s3_region: args.repository.s3_region.clone().or_else(|| s3.and_then(|s3| s3.aws_region.clone())),
        snapshot: args.snapshot.snapshot.clone().or_else(|| snapshot.and_then(|s| s.snapshot_name.clone())),
        index: args.snapshot.index.clone(),
        include_hidden: args.snapshot.include_hidden,
        allow_partial: args.snapshot.allow_partial,
        types: args.documents.types.clone(),
        allow_partial_source: args.documents.allow_partial_source,
        timestamp_field: args.documents.timestamp_field.clone(),
        ttl_field: args.documents.ttl_field.clone(),
        chunk_bytes: args.chunk.chunk_size,
        workers: args.workers,
        create_missing_indices: args.send.create_missing_indices,
        max_failed: args.max_failed,
        new: args.new,
    })
}

/// Refuses another target than the stack's: its workers have credentials and network for that one only.
fn check_target(stack: &Stack, args: &StartArgs) -> Result<()> {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    match (&args.target.target, &stack.target) {
        (Some(asked), Some(target)) if bare(asked) != bare(target) => Err(CommandError::usage(format!(
            "the stack {} writes into {target}, not into {asked}: deploy a stack for that, or add --local",
            stack.name
        ))),
        _ => Ok(()),
    }
}

/// The repository: as arguments or file say, or else that of the stack which is configured.
pub(super) async fn repository(context: &Context<'_>, args: &RepositoryArgs) -> Result<RepositorySetting> {
    let named = args.repo.is_some()
        || context.config.snapshot.as_ref().is_some_and(|s| s.s3.is_some() || s.fs.is_some());
    let state = StateArgs {
        stack: std::env::var("BACKFILL_STACK").ok(),
        region: std::env::var("BACKFILL_REGION").ok(),
        ..StateArgs::default()
    };
    let Some(setting) = settings::stack(&state, context.config).filter(|_| !named) else {
        return RepositorySetting::new(args, context.config);
    };
    let (_, stack) = read(&setting).await?;
    let args = RepositoryArgs { repo: stack.repository, s3_region: args.s3_region.clone(), ..args.clone() };
    RepositorySetting::new(&args, context.config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{BackfillCli, BackfillCommand};
    use crate::config::Config;
    use clap::Parser;

    fn start_args(line: &str) -> Box<StartArgs> {
        match BackfillCli::try_parse_from(line.split(' ')).unwrap().command {
            BackfillCommand::Start(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn stack() -> Stack {
        Stack {
            name: "s".to_owned(),
            table: String::new(),
            queue_url: String::new(),
            dead_letter_queue_url: String::new(),
            worker_function: String::new(),
            start_function: String::new(),
            status_function: String::new(),
            mapping_uuid: String::new(),
            failed_documents: String::new(),
            repository: None,
            target: Some("https://new:9200/".to_owned()),
        }
    }

    #[test]
    fn what_is_not_said_is_left_to_the_stack() {
        let config = Config::default();
        let context = Context { config: &config, json: false };
        let request = |line: &str| request(&context, &start_args(line));
        assert_eq!(request("backfill start --stack s").unwrap(), StartRequest::default());
        let full = request(
            "backfill start --repo s3://b/p --snapshot x --index a* --chunk-size 1MiB --workers 7 --new",
        );
        let expected = StartRequest {
            repository: Some("s3://b/p".to_owned()),
            snapshot: Some("x".to_owned()),
            index: Some("a*".to_owned()),
            chunk_bytes: Some(1 << 20),
            workers: Some(7),
            new: true,
            ..StartRequest::default()
        };
        assert_eq!(full.unwrap(), expected);
        assert!(request("backfill start --repo /dir").unwrap_err().message.contains("reads from S3"));
    }

    #[test]
    fn another_target_than_the_stacks_is_refused() {
        assert!(check_target(&stack(), &start_args("backfill start --target https://new:9200")).is_ok());
        assert!(check_target(&stack(), &start_args("backfill start")).is_ok());
        let refused = check_target(&stack(), &start_args("backfill start --target https://other:9200"));
        assert!(refused.unwrap_err().message.contains("writes into https://new:9200/"));
    }

    #[test]
    fn answers_are_shown_as_sentences() {
        assert_eq!(sentence("run 7 was started"), "Run 7 was started.");
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), ".");
    }
}
