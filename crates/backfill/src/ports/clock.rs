//! Time, as a port, so that leases and back-off can be tested without waiting.
//!
//! The wall clock of a machine is set from time to time: by an operator, by NTP, by the host of a virtual machine. Whatever
//! lasts is therefore measured on a clock that only moves forward: pauses, back-off, retry budgets, calm periods, and
//! leases among the workers of one machine. Wall-clock time is used for two things only: to display it, and for leases
//! between machines, which have no other clock in common. Those are guarded by
//! [`LONGEST_LEASE`](crate::model::chunk::LONGEST_LEASE).

use crate::model::Millis;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> Millis;

    /// Milliseconds since some moment that stays the same while the process runs. Moves forward only, at the pace of
    /// time, whatever the wall clock is set to.
    fn monotonic(&self) -> Millis;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        wall_clock()
    }

    fn monotonic(&self) -> Millis {
        Origin::get().elapsed()
    }
}

/// A clock for processes that share nothing with other machines: the wall-clock time at which the process began, and
/// monotonic from there on. Leases among the workers of the process neither expire early nor late when the wall clock
/// is set, and what is displayed is still a date.
#[derive(Clone, Copy, Debug, Default)]
pub struct SteadyClock;

impl Clock for SteadyClock {
    fn now(&self) -> Millis {
        let origin = Origin::get();
        origin.wall.saturating_add(origin.elapsed())
    }

    fn monotonic(&self) -> Millis {
        Origin::get().elapsed()
    }
}

/// One moment on both clocks: the first at which a clock of this process was asked.
struct Origin {
    wall: Millis,
    instant: Instant,
}

impl Origin {
    fn get() -> &'static Origin {
        static ORIGIN: OnceLock<Origin> = OnceLock::new();
        ORIGIN.get_or_init(|| Origin { wall: wall_clock(), instant: Instant::now() })
    }

    fn elapsed(&self) -> Millis {
        u64::try_from(self.instant.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
