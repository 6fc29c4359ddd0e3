//! How much is sent to the target at once: adapts to what it can take.
//!
//! Additive increase, multiplicative decrease, like congestion control: each window of successes allows one more
//! request in flight, a refusal halves it, and once only one is left, requests become smaller. Latency above the best
//! that was seen stops the increase before the target has to refuse, and far above it takes it back. Pure: chance and
//! time are arguments, the latter as [`Clock::monotonic`](crate::ports::Clock::monotonic) tells it.

use crate::model::Millis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Limits of the adaptation.
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Requests in flight, at most.
    pub max_in_flight: usize,
    /// Size of a request in bytes, at most (a single larger document is still sent).
    pub max_batch_bytes: usize,
    /// Size to which requests may shrink.
    pub min_batch_bytes: usize,
}

impl Default for FlowLimits {
    fn default() -> FlowLimits {
        FlowLimits { max_in_flight: 8, max_batch_bytes: 5 << 20, min_batch_bytes: 128 << 10 }
    }
}

/// Latency beyond this many times the best one means that requests queue up in the target: more would not help.
const QUEUEING: f64 = 2.0;
/// Latency beyond this many times the best one means that fewer requests would serve as well.
const CROWDED: f64 = 4.0;

/// After so many requests of the largest size that was not refused as too large, one of twice that size is tried: the refusal
/// may have come from something that is no longer there. If it is still there, one request in so many is sent in vain.
const PROBE: u32 = 100;

/// Batches that may be under delivery whatever happens: one that is refused again and again must not keep all others from
/// being sent in between.
pub const MIN_DELIVERIES: usize = 2;

/// What became of requests: those of which only a part was refused count twice, those that are repeated not again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of which all or a part was taken.
    pub taken: u64,
    /// Of which all or a part was refused.
    pub refused: u64,
}

/// The state of the adaptation.
#[derive(Debug)]
pub struct Flow {
    limits: FlowLimits,
    window: f64,
    batch_bytes: usize,
    /// Size of a request in bytes, at most: less than the limit after a request was refused as too large.
    largest: usize,
    /// Requests taken since `batch_bytes` is as large as that.
    taken_at_largest: u32,
    /// Best milliseconds per MiB seen, slowly forgotten.
    best: Option<f64>,
    paused_until: Millis,
    /// No second decrease before requests sent after the first one have come back.
    calm_until: Millis,
    last_success: Millis,
    tally: Tally,
    /// Requests under way.
    sending: usize,
    /// Told when one of them has ended, or one more may be under way.
    ended: Arc<Notify>,
}

impl Flow {
    /// Starts gently: two requests in flight, of half the largest size.
    pub fn new(limits: FlowLimits, now: Millis) -> Flow {
        let min_batch_bytes = limits.min_batch_bytes.min(limits.max_batch_bytes);
        let limits = FlowLimits { min_batch_bytes, ..limits };
        Flow {
            limits,
            window: 2f64.min(limits.max_in_flight as f64),
            batch_bytes: (limits.max_batch_bytes / 2).max(limits.min_batch_bytes),
            largest: limits.max_batch_bytes,
            taken_at_largest: 0,
            best: None,
            paused_until: 0,
            calm_until: 0,
            last_success: now,
            tally: Tally::default(),
            sending: 0,
            ended: Arc::default(),
        }
    }

    /// Requests that may be in flight.
    pub fn window(&self) -> usize {
        (self.window as usize).clamp(1, self.limits.max_in_flight.max(1))
    }

    /// Batches that may be under delivery.
    pub fn deliveries(&self) -> usize {
        self.window().max(MIN_DELIVERIES)
    }

    /// Bytes that a request should have.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// How long nothing new should be sent.
    pub fn pause(&self, now: Millis) -> Duration {
        Duration::from_millis(self.paused_until.saturating_sub(now))
    }

    /// Begins a request, if no more are under way than may be; [`Flow::end`] must follow.
    pub fn begin(&mut self) -> bool {
        let may = self.sending < self.window();
        self.sending += usize::from(may);
        may
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.sending
    }

    /// A request has ended, with whatever answer or none.
    pub fn end(&mut self) {
        self.sending = self.sending.saturating_sub(1);
        self.ended.notify_one();
    }

    /// Told when it makes sense to try to begin again.
    pub fn ended(&self) -> Arc<Notify> {
        self.ended.clone()
    }

    /// When the target last took something (or the flow began).
    pub fn last_success(&self) -> Millis {
        self.last_success
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether the target ever took anything.
    pub fn any_success(&self) -> bool {
        self.tally.taken > 0
    }

    /// A request was taken whole.
    pub fn succeeded(&mut self, now: Millis, bytes: usize, took: Duration) {
        self.last_success = now;
        self.tally.taken += 1;
        // Small requests say little about the speed.
        if bytes >= self.limits.min_batch_bytes {
            let pace = took.as_secs_f64() * 1000.0 / (bytes as f64 / f64::from(1 << 20));
            let best = self.best.map_or(pace, |b| (b * 1.005).min(pace));
            self.best = Some(best);
            if pace > best * QUEUEING && self.window > 2.0 {
                if pace > best * CROWDED {
                    self.window = (self.window - 1.0 / self.window).max(2.0);
                }
                return;
            }
        }
        if now < self.calm_until {
            return;
        }
        self.window = (self.window + 1.0 / self.window).min(self.limits.max_in_flight as f64);
        self.ended.notify_one();
        if self.batch_bytes == self.largest && self.largest < self.limits.max_batch_bytes {
            self.taken_at_largest += 1;
            if self.taken_at_largest >= PROBE {
                self.taken_at_largest = 0;
                self.largest = (self.largest * 2).min(self.limits.max_batch_bytes);
            }
        }
        let step = self.limits.max_batch_bytes / 64;
        self.batch_bytes = (self.batch_bytes + step).min(self.largest);
    }

    /// The target took part of a request: it works, but has reached its limit.
    pub fn partly_refused(&mut self, now: Millis, delay: Duration) {
        self.last_success = now;
        self.tally.taken += 1;
        self.overloaded(now, delay, true);
    }

    /// The target refused, or did not answer in time. `delay` is how long the sender will wait; `first` tells whether the
    /// request was refused for the first time.
    pub fn overloaded(&mut self, now: Millis, delay: Duration, first: bool) {
        self.tally.refused += u64::from(first);
        let until = now.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        if now >= self.calm_until {
            if self.window < 2.0 {
                self.batch_bytes = (self.batch_bytes / 2).max(self.limits.min_batch_bytes);
            }
            self.window = (self.window / 2.0).max(1.0);
            self.calm_until = until.saturating_add(500);
        }
        self.paused_until = self.paused_until.max(until);
    }

    /// A request of this size was refused as too large.
    pub fn too_large(&mut self, bytes: usize) {
        let half = (bytes / 2).max(self.limits.min_batch_bytes);
        self.largest = self.largest.min(half);
        self.batch_bytes = self.batch_bytes.min(half);
        self.taken_at_largest = 0;
    }
}

/// How long to wait before attempt number `attempt` (0 for the first repetition): exponential from 100 ms to 30 s,
/// with jitter, but never less than the target asked for. `chance` lies in `0.0..1.0`.
pub fn backoff(attempt: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let ceiling =
        Duration::from_millis(100).saturating_mul(1 << attempt.min(16)).min(Duration::from_secs(30));
    let jittered = ceiling.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    retry_after.unwrap_or_default().min(Duration::from_secs(300)).max(jittered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_willing_target_gets_more_and_a_refusing_one_less() {
        let limits = FlowLimits::default();
        let mut flow = Flow::new(limits, 0);
        for n in 0..100 {
            flow.succeeded(n * 1000, MIB, Duration::from_millis(50));
        }
        assert_eq!((flow.window(), flow.batch_bytes()), (limits.max_in_flight, limits.max_batch_bytes));
        let mut now = 200_000;
        for _ in 0..20 {
            flow.overloaded(now, Duration::from_millis(100), true);
            now += 10_000;
        }
        assert_eq!((flow.window(), flow.batch_bytes()), (1, limits.min_batch_bytes));
        assert_eq!(flow.pause(now), Duration::ZERO);
    }

    #[test]
    fn refusals_of_requests_that_were_under_way_together_count_once() {
        let mut flow = Flow::new(FlowLimits::default(), 0);
        for n in 0..100 {
            flow.succeeded(n * 1000, MIB, Duration::from_millis(50));
        }
        for _ in 0..8 {
            flow.overloaded(200_000, Duration::from_millis(100), true);
        }
        assert_eq!(flow.window(), FlowLimits::default().max_in_flight / 2);
        assert_eq!(flow.pause(200_000), Duration::from_millis(100));
    }

    #[test]
    fn growing_latency_stops_the_increase_and_then_takes_it_back() {
        let mut flow = Flow::new(FlowLimits::default(), 0);
        let mut after = |requests, took| {
            for _ in 0..requests {
                flow.succeeded(0, MIB, Duration::from_millis(took));
            }
            flow.window()
        };
        let window = after(10, 10);
        assert!(window > 2, "{window}");
        assert_eq!(after(50, 30), window, "requests queue up: more would not help");
        assert_eq!(after(100, 100), 2, "fewer would serve as well");
    }

    #[test]
    fn no_request_is_larger_than_the_user_allows() {
        let limits = FlowLimits { max_batch_bytes: 2000, ..FlowLimits::default() };
        let mut flow = Flow::new(limits, 0);
        assert!(flow.batch_bytes() <= 2000);
        for now in [0, 100_000, 200_000] {
            flow.overloaded(now, Duration::ZERO, true);
        }
        flow.too_large(1000);
        assert!(flow.batch_bytes() <= 2000);
    }

    #[test]
    fn a_single_refusal_as_too_large_does_not_last() {
        let mut flow = Flow::new(FlowLimits::default(), 0);
        let grown = |flow: &mut Flow, requests| {
            for _ in 0..requests {
                flow.succeeded(0, MIB, Duration::from_millis(10));
            }
            flow.batch_bytes()
        };
        flow.too_large(2 * MIB);
        assert_eq!(grown(&mut flow, PROBE - 1), MIB);
        let tried = grown(&mut flow, 2 * PROBE);
        assert!(tried > MIB, "{tried}");
        // It was no mistake.
        flow.too_large(2 * MIB);
        assert_eq!(grown(&mut flow, PROBE - 1), MIB);
        assert_eq!(grown(&mut flow, 5 * PROBE), FlowLimits::default().max_batch_bytes);
    }

    #[test]
    fn no_more_requests_are_under_way_than_the_window_allows() {
        let mut flow = Flow::new(FlowLimits::default(), 0);
        assert_eq!([flow.begin(), flow.begin(), flow.begin()], [true, true, false]);
        flow.end();
        assert!(flow.begin());
        flow.overloaded(0, Duration::ZERO, true);
        flow.end();
        assert!(!flow.begin(), "one is still under way, and one may be");
        flow.end();
        assert!(flow.begin());
    }

    proptest! {
        #[test]
        fn delays_are_bounded_and_honour_the_target(attempt in 0u32..1000, asked in proptest::option::of(0u64..10_000), chance in 0.0..1.0) {
            let delay = backoff(attempt, asked.map(Duration::from_millis), chance);
            prop_assert!(delay >= Duration::from_millis(50) && delay <= Duration::from_secs(30));
            prop_assert!(delay >= Duration::from_millis(asked.unwrap_or(0)));
        }
    }
}
