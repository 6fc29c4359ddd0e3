use super::*;
use crate::encode::{Document, Encoder};
use crate::model::{ChunkId, Identity, RunId, ShardId, WriteMode};
use crate::ports::{Acknowledge, Place, Reply};
use crate::worker::flow::FlowLimits;
use async_trait::async_trait;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Milliseconds of the clock when a test begins: nothing may depend on it.
const BEGIN: Millis = 1_000_000_000;
const PATIENCE: Duration = Duration::from_secs(600);

/// The paused time of the runtime, and a wall clock that somebody may set meanwhile.
#[derive(Debug)]
struct TestClock {
    begun: Instant,
    wall: fn(Millis) -> Millis,
}

impl Clock for TestClock {
    fn now(&self) -> Millis {
        (self.wall)(self.begun.elapsed().as_millis() as u64)
    }

    fn monotonic(&self) -> Millis {
        BEGIN + self.begun.elapsed().as_millis() as u64
    }
}

/// What a target makes of a request with these ids, of this size.
type Answer = dyn Fn(&[String], usize, Duration) -> Result<Vec<ItemOutcome>, TargetError> + Send + Sync;

/// How long a target says that it took, by the time since the beginning.
type Took = dyn Fn(Duration) -> Option<Duration> + Send + Sync;

/// How long a target lets one wait for an answer, by the time since the beginning.
type Wait = dyn Fn(Duration) -> Duration + Send + Sync;

/// A target that answers by a rule.
struct Rule {
    begun: Instant,
    wait: Box<Wait>,
    answer: Box<Answer>,
    /// Whether it is itself, by the time since the beginning.
    there: Box<dyn Fn(Duration) -> bool + Send + Sync>,
    took: Box<Took>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    taken: BTreeSet<String>,
    requests: Vec<(Duration, usize)>,
    under_way: usize,
    most_under_way: usize,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rule")
    }
}

#[derive(Clone, Debug)]
struct Ruled(Arc<Rule>);

#[async_trait]
impl Target for Ruled {
    fn location(&self) -> String {
        "test".to_owned()
    }

    fn encoding(&self) -> Encoding {
        Encoding::Bulk
    }

    fn acknowledge(&self) -> Acknowledge {
        Acknowledge::OnReply
    }

    fn max_in_flight(&self) -> usize {
        8
    }

    async fn check(&self) -> Result<(), TargetError> {
        if (self.0.there)(self.0.begun.elapsed()) { Ok(()) } else { Err(unexpected()) }
    }

    async fn place(&self, _name: &str) -> Result<Option<Place>, TargetError> {
        Ok(Some(Place::index(Identity::none())))
    }

    async fn identity(&self, _name: &str) -> Result<Option<Identity>, TargetError> {
        Ok(Some(Identity::none()))
    }

    async fn create(&self, _name: &str, _data_stream: bool) -> Result<bool, TargetError> {
        Ok(true)
    }

    async fn begin(
        &self,
        _run: &RunId,
        _chunk: &ChunkId,
        _destination: &str,
        _mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl ChunkWriter for Ruled {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        let seen = || self.0.seen.lock().unwrap();
        {
            let mut seen = seen();
            seen.requests.push((self.0.begun.elapsed(), batch.entries.len()));
            seen.under_way += 1;
            seen.most_under_way = seen.most_under_way.max(seen.under_way);
        }
        tokio::time::sleep((self.0.wait)(self.0.begun.elapsed())).await;
        seen().under_way -= 1;
        let ids: Vec<String> =
            batch.entries.iter().map(|entry| names(Encoding::Bulk, batch, entry).id.unwrap()).collect();
        let items = (self.0.answer)(&ids, batch.body.len(), self.0.begun.elapsed())?;
        for (id, item) in ids.into_iter().zip(&items) {
            if *item == ItemOutcome::Indexed {
                seen().taken.insert(id);
            }
        }
        Ok(Reply { items, took: (self.0.took)(self.0.begun.elapsed()) })
    }

    async fn finish(&self) -> Result<(), TargetError> {
        Ok(())
    }
}

fn unexpected() -> TargetError {
    TargetError::Unexpected { target: "test".to_owned(), reason: "a page about maintenance".to_owned() }
}

fn overloaded(after: u64) -> TargetError {
    TargetError::Overloaded { target: "test".to_owned(), retry_after: Some(Duration::from_secs(after)) }
}

fn all(ids: &[String]) -> Result<Vec<ItemOutcome>, TargetError> {
    Ok(vec![ItemOutcome::Indexed; ids.len()])
}

fn target(
    answer: impl Fn(&[String], usize, Duration) -> Result<Vec<ItemOutcome>, TargetError> + Send + Sync + 'static,
) -> Rule {
    let (begun, seen) = (Instant::now(), Mutex::default());
    let wait = Box::new(|_| Duration::from_secs(1));
    Rule { begun, wait, answer: Box::new(answer), there: Box::new(|_| true), took: Box::new(|_| None), seen }
}

fn delivery(rule: Rule) -> (Delivery, Arc<Rule>) {
    delivery_by(|elapsed| 2 * BEGIN + elapsed, rule)
}

/// With a wall clock that shows this so long after the beginning.
fn delivery_by(wall: fn(Millis) -> Millis, rule: Rule) -> (Delivery, Arc<Rule>) {
    let clock = TestClock { begun: Instant::now(), wall };
    let target = Ruled(Arc::new(rule));
    let shard = ShardId { index: "i".to_owned(), shard: 0 };
    let limits = FlowLimits { min_batch_bytes: 100, ..FlowLimits::default() };
    let delivery = Delivery {
        writer: Arc::new(target.clone()),
        encoding: Encoding::Bulk,
        chunk: Arc::new(Chunk::new(ChunkId { shard, number: 0 }, Vec::new())),
        destination: "i".into(),
        // The flow is as old as the worker, which may have had nothing to do for long.
        flow: Arc::new(Mutex::new(Flow::new(limits, 0))),
        patience: PATIENCE,
        clock: Arc::new(clock),
        target: Arc::new(target.clone()),
        waits: Waits::default(),
        stopping: CancellationToken::new(),
    };
    (delivery, target.0)
}

#[tokio::test(start_paused = true)]
async fn when_it_is_stopped_nothing_is_repeated() {
    let (delivery, rule) = delivery(target(|_, _, _| Err(overloaded(0))));
    let stopping = delivery.stopping.clone();
    let begun = Instant::now();
    let stop = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let requests = rule.seen.lock().unwrap().requests.len();
        stopping.cancel();
        requests
    };
    let (ended, requests) = tokio::join!(delivery.deliver(batch(ids(0..1))), stop);
    assert!(ended.is_err() && begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(rule.seen.lock().unwrap().requests.len() <= requests + 1);
}

fn batch(ids: impl IntoIterator<Item = String>) -> Batch {
    let mut encoder = Encoder::new(Encoding::Bulk, WriteMode::Index, "i");
    for (doc, id) in (0..).zip(ids) {
        let document = Document {
            index: None,
            id: &id,
            routing: None,
            doc_type: None,
            parent: None,
            timestamp: None,
            expires: None,
            source: b"{}",
        };
        encoder.push(Position { range: 0, doc }, &document);
    }
    encoder.take()
}

fn ids(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

#[tokio::test(start_paused = true)]
async fn pauses_and_the_retry_budget_do_not_depend_on_the_wall_clock() {
    const HOURS: Millis = 2 * 3_600_000;
    let jumps = |at: Duration| at > Duration::from_secs(3);
    let walls: [fn(Millis) -> Millis; 4] = [
        |elapsed| BEGIN + elapsed,
        |elapsed| if elapsed > 3000 { BEGIN + elapsed - HOURS } else { BEGIN + elapsed },
        |elapsed| if elapsed > 3000 { BEGIN + elapsed + HOURS } else { BEGIN + elapsed },
        |_| BEGIN,
    ];
    for wall in walls {
        // Refuses for a while, during which the clock is set.
        let (delivery, rule) = delivery_by(
            wall,
            target(
                move |ids, _, at| {
                    if at < Duration::from_secs(20) { Err(overloaded(1)) } else { all(ids) }
                },
            ),
        );
        let begun = Instant::now();
        delivery.deliver(batch(ids(0..3))).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let requests = rule.seen.lock().unwrap().requests.clone();
        assert!(requests.iter().any(|(at, _)| jumps(*at)) && requests.len() < 20, "{requests:?}");
        assert!(requests.windows(2).all(|two| two[1].0 - two[0].0 >= Duration::from_secs(1)), "{requests:?}");
        // Refuses for ever.
        let (delivery, _) = delivery_by(wall, target(|_, _, _| Err(overloaded(1))));
        let begun = Instant::now();
        delivery.deliver(batch(ids(0..1))).await.unwrap_err();
        let took = begun.elapsed();
        assert!(took >= PATIENCE && took < PATIENCE + Duration::from_secs(60), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_before_a_request_says_nothing_about_the_target() {
    let slower = |at| Duration::from_millis(if at < Duration::from_secs(2) { 100 } else { 1000 });
    let always = |_| Duration::from_secs(1);
    // What is waited for in all counts only where the target does not say what of that is its own.
    let cases: [(Box<Wait>, Box<Took>, usize); 4] = [
        (Box::new(always), Box::new(move |at| Some(slower(at))), 2),
        (Box::new(slower), Box::new(move |at| Some(always(at))), 8),
        (Box::new(always), Box::new(|_| None), 8),
        (Box::new(slower), Box::new(|_| None), 2),
    ];
    for (wait, took, expected) in cases {
        let rule = Rule { wait, took, ..target(|ids, _, _| all(ids)) };
        let (delivery, _) = delivery(rule);
        for _ in 0..100 {
            delivery.deliver(batch(ids(0..9))).await.unwrap();
        }
        assert_eq!(delivery.flow().window(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_there_already_says_nothing_about_the_speed_of_the_target() {
    const AGAIN: Duration = Duration::from_secs(1);
    let rule = Rule {
        wait: Box::new(|at| Duration::from_millis(if at < AGAIN { 10 } else { 1000 })),
        ..target(|ids, _, at| {
            let item = if at <= AGAIN { ItemOutcome::AlreadyThere } else { ItemOutcome::Indexed };
            Ok(vec![item; ids.len()])
        })
    };
    let (delivery, _) = delivery(rule);
    for _ in 0..200 {
        delivery.deliver(batch(ids(0..9))).await.unwrap();
    }
    assert_eq!(delivery.flow().window(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_target_is_waited_for_since_it_was_asked() {
    // However long ago it took something last.
    let (delivery, rule) =
        delivery(target(|ids, _, at| if at < PATIENCE / 2 { Err(overloaded(0)) } else { all(ids) }));
    let done = delivery.deliver(batch(ids(0..3))).await.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (3, 0));
    assert!(rule.begun.elapsed() < PATIENCE);

    let (delivery, rule) = super::tests::delivery(target(|_, _, _| Err(overloaded(0))));
    let given_up = delivery.deliver(batch(ids(0..3))).await.unwrap_err();
    assert!(matches!(given_up, TargetError::Overloaded { .. }));
    let waited = rule.begun.elapsed();
    assert!(waited >= PATIENCE && waited < PATIENCE + Duration::from_secs(60), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_target_asks_for_holds_for_all_and_half_of_them_go_on() {
    // Eight requests are under way when the target has enough, and asks for 20 seconds.
    let (delivery, rule) = delivery(target(|ids, _, at| {
        if (Duration::from_secs(20)..Duration::from_secs(30)).contains(&at) {
            Err(overloaded(20))
        } else {
            all(ids)
        }
    }));
    for _ in 0..100 {
        delivery.flow().succeeded(BEGIN, 1 << 20, Duration::from_millis(50));
    }
    assert_eq!(delivery.flow().window(), 8);
    tokio::time::sleep(Duration::from_secs(19)).await;
    let deliveries = (0..8).map(|n| delivery.deliver(batch(ids(n * 10..n * 10 + 10))));
    for done in futures::future::join_all(deliveries).await {
        assert_eq!(done.unwrap().counters.indexed, 10);
    }
    let seen = rule.seen.lock().unwrap();
    assert_eq!((seen.taken.len(), seen.most_under_way), (80, 8));
    let again: Vec<Duration> = seen.requests[8..].iter().map(|(at, _)| *at).collect();
    assert!(again.iter().all(|at| *at >= Duration::from_secs(40)), "{again:?}");
    let first = again.iter().filter(|at| **at < again[0] + Duration::from_millis(900)).count();
    assert!(first <= 4, "{first} of them at once: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn faults_of_some_documents_among_others_are_theirs_and_those_of_all_are_not() {
    let fault = || ItemOutcome::Refused(Refusal::Fault("no such pointer".to_owned()));
    // Two documents whose fault lasts, in a batch of others: not a short one of a shard that moves.
    let (delivery, rule) = delivery(target(move |ids, _, _| {
        Ok(ids
            .iter()
            .map(|id| if ["3", "4"].contains(&id.as_str()) { fault() } else { ItemOutcome::Indexed })
            .collect())
    }));
    let others = async {
        for n in 1..400 {
            delivery.deliver(batch(ids(n * 10..n * 10 + 3))).await.unwrap();
        }
    };
    let both = async { tokio::join!(delivery.deliver(batch(ids(0..10))), others) };
    let done = tokio::time::timeout(PATIENCE * 2, both).await.expect("it ends").0.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (8, 2));
    assert_eq!(
        (done.failed[0].error_type.as_str(), done.failed[0].id.as_deref()),
        ("target_fault", Some("3"))
    );
    assert!(rule.begun.elapsed() >= PATIENCE / FAULT_SHARE);

    // All of them for a while: the target is waited for, and no document has failed.
    let minute = Duration::from_secs(60);
    let (delivery, _) = super::tests::delivery(target(move |ids, _, at| {
        if at > minute && at < PATIENCE / 2 { Ok(ids.iter().map(|_| fault()).collect()) } else { all(ids) }
    }));
    delivery.deliver(batch(ids(0..5))).await.unwrap();
    tokio::time::sleep(minute).await;
    let (one, more) = tokio::join!(delivery.deliver(batch(ids(0..1))), delivery.deliver(batch(ids(1..6))));
    let (one, more) = (one.unwrap(), more.unwrap());
    assert_eq!((one.counters.indexed, one.failed.len()), (1, 0));
    assert_eq!((more.counters.indexed, more.failed.len()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_targets_place_is_nobodys_failure() {
    let minute = Duration::from_secs(60);
    let absent = move |at: Duration| at > minute && at < minute * 4;
    let mut rule = target(move |ids, _, at| if absent(at) { Err(unexpected()) } else { all(ids) });
    rule.there = Box::new(move |at| !absent(at));
    let (delivery, rule) = delivery(rule);
    delivery.deliver(batch(ids(0..5))).await.unwrap();
    tokio::time::sleep(minute).await;
    let done = delivery.deliver(batch(ids(5..15))).await.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (10, 0));
    assert_eq!(rule.seen.lock().unwrap().taken.len(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_spoils_a_whole_request_fails_alone() {
    let (delivery, rule) =
        delivery(target(
            |ids, _, _| {
                if ids.iter().any(|id| id == "0") { Err(unexpected()) } else { all(ids) }
            },
        ));
    // Before the target has taken anything, it may be the target that is wrong.
    assert!(matches!(delivery.deliver(batch(ids(0..1))).await, Err(TargetError::Unexpected { .. })));
    delivery.deliver(batch(ids(100..101))).await.unwrap();
    let done = delivery.deliver(batch(ids(0..20))).await.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (19, 1));
    assert_eq!((done.failed[0].error_type.as_str(), done.failed[0].position.doc), ("request_refused", 0));
    assert_eq!(rule.seen.lock().unwrap().taken.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_the_target_never_takes_fails_alone_while_it_takes_others() {
    let (delivery, rule) =
        delivery(target(
            |ids, _, _| {
                if ids.iter().any(|id| id == "3") { Err(overloaded(0)) } else { all(ids) }
            },
        ));
    // With one request at a time, too, it is not always its turn.
    *delivery.flow() = Flow::new(FlowLimits { max_in_flight: 1, ..FlowLimits::default() }, 0);
    let stuck = tokio::spawn({
        let delivery = delivery.clone();
        async move { delivery.deliver(batch(ids(0..10))).await.unwrap() }
    });
    let both = async {
        for n in 1.. {
            let delivery = delivery.clone();
            tokio::spawn(async move { delivery.deliver(batch(ids(n * 10..n * 10 + 3))).await.unwrap() })
                .await
                .unwrap();
            if stuck.is_finished() {
                break;
            }
        }
        stuck.await.unwrap()
    };
    let done = tokio::time::timeout(PATIENCE * 3, both).await.expect("it ends");
    assert_eq!((done.counters.indexed, done.failed.len()), (9, 1));
    assert_eq!(
        (done.failed[0].error_type.as_str(), done.failed[0].id.as_deref()),
        ("request_refused", Some("3"))
    );
    assert!(rule.begun.elapsed() >= PATIENCE / FAULT_SHARE, "it may be a target that has too much to do");
}

#[tokio::test(start_paused = true)]
async fn a_document_does_not_fail_because_the_target_is_down() {
    // Others are still taken when the document is refused for the first time, and nothing after that.
    let (down, rule) = delivery(target(|ids, _, at| {
        if ids[0] == "0" || at > Duration::from_secs(30) { Err(overloaded(0)) } else { all(ids) }
    }));
    let others = async {
        for n in 1..100 {
            if rule.begun.elapsed() < Duration::from_secs(5) {
                down.deliver(batch(ids(n..n + 1))).await.unwrap();
            }
        }
    };
    let (lone, ()) = tokio::join!(down.deliver(batch(ids(0..1))), others);
    assert!(matches!(lone, Err(TargetError::Overloaded { .. })), "{lone:?}");

    // Most of the others are refused, too.
    let random = Mutex::new(fastrand::Rng::with_seed(7));
    let (crowded, _) = delivery(target(move |ids, _, at| {
        let refused = random.lock().unwrap().u8(..4) > 0;
        let stuck = ids[0] == "0" && at < PATIENCE;
        if stuck || refused { Err(overloaded(0)) } else { all(ids) }
    }));
    let stuck = tokio::spawn({
        let crowded = crowded.clone();
        async move { crowded.deliver(batch(ids(0..1))).await.unwrap() }
    });
    for n in 1.. {
        let crowded = crowded.clone();
        tokio::spawn(async move { crowded.deliver(batch(ids(n..n + 1))).await.unwrap() }).await.unwrap();
        if stuck.is_finished() {
            break;
        }
    }
    assert_eq!(stuck.await.unwrap().counters.indexed, 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_too_large_are_split_and_a_document_that_is_fails() {
    let (delivery, rule) = delivery(target(|ids, bytes, _| {
        if bytes > 100 { Err(TargetError::TooLarge { target: "test".to_owned(), bytes }) } else { all(ids) }
    }));
    let long = "9".repeat(200);
    let done = delivery.deliver(batch(ids(0..20).chain([long.clone()]))).await.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (20, 1));
    assert_eq!(
        (done.failed[0].error_type.as_str(), done.failed[0].id.as_ref()),
        ("request_too_large", Some(&long))
    );
    let sizes: Vec<usize> = rule.seen.lock().unwrap().requests.iter().map(|(_, size)| *size).collect();
    assert!(sizes[0] == 21 && sizes[1..].iter().all(|size| *size <= 11), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_does_not_fit_or_one_refusal_is_not_held_against_a_document() {
    let garbled =
        || TargetError::Garbled { target: "test".to_owned(), reason: "another request's".to_owned() };
    let too_large = || TargetError::TooLarge { target: "test".to_owned(), bytes: 1 };
    let errors: [&(dyn Fn() -> TargetError + Sync); 3] = [&garbled, &too_large, &unexpected];
    for error in errors {
        let (error, asked) = (error(), Mutex::new(0));
        let (delivery, _) = delivery(target(move |ids, _, _| {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            if *asked % 2 == 1 { Err(error.clone()) } else { all(ids) }
        }));
        for n in 0..3 {
            let done = delivery.deliver(batch(ids(n..n + 1))).await.unwrap();
            assert_eq!((done.counters.indexed, done.failed.len()), (1, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_whose_answers_never_fit_fails_alone_while_others_do_not() {
    let (delivery, rule) = delivery(target(|ids, _, _| {
        let (target, reason) = ("test".to_owned(), "a web page".to_owned());
        if ids.iter().any(|id| id == "3") { Err(TargetError::Garbled { target, reason }) } else { all(ids) }
    }));
    let others = async {
        for n in 1..800 {
            delivery.deliver(batch(ids(n * 10..n * 10 + 3))).await.unwrap();
        }
    };
    let both = async { tokio::join!(delivery.deliver(batch(ids(0..10))), others) };
    let done = tokio::time::timeout(PATIENCE * 3, both).await.expect("it ends").0.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (9, 1));
    assert_eq!(done.failed[0].id.as_deref(), Some("3"));
    assert!(rule.begun.elapsed() >= PATIENCE / FAULT_SHARE);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_target_never_answers_in_time_gets_smaller() {
    let (delivery, rule) = delivery(target(|ids, bytes, _| {
        let (target, reason) = ("test".to_owned(), "no answer within 60s".to_owned());
        if bytes > 1000 { Err(TargetError::Unreachable { target, reason }) } else { all(ids) }
    }));
    {
        // It was gathered when more was possible.
        let mut flow = delivery.flow();
        *flow = Flow::new(FlowLimits { max_batch_bytes: 8000, min_batch_bytes: 100, max_in_flight: 8 }, 0);
    }
    let done = delivery.deliver(batch(ids(0..200))).await.unwrap();
    assert_eq!((done.counters.indexed, done.failed.len()), (200, 0));
    assert!(rule.begun.elapsed() < PATIENCE);
}
