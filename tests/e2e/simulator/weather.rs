//! How bad things are: which requests meet a fault.

use super::answers::{Memory, Wrong, is_bulk, truth};
use super::proxy::{Fate, Head};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Shares of bulk requests that meet a wrong answer, of which one is taken for each run.
const SHARES: [f64; 3] = [0.05, 0.15, 0.3];
/// Of other requests so many times fewer meet one.
const OTHERS: f64 = 4.0;

/// Decides about requests. One is shared by the proxies of a simulation.
pub(crate) struct Weather {
    random: Mutex<fastrand::Rng>,
    /// Wrong answers that may be given.
    pub(crate) kinds: Vec<Wrong>,
    /// Nothing goes wrong.
    calm: AtomicBool,
    /// Until then nobody gets an answer from the target.
    cut_off_until: Mutex<Instant>,
    /// Of a million bulk requests so many meet a wrong answer.
    share: AtomicU32,
}

impl Weather {
    pub(crate) fn new(seed: u64, kinds: Vec<Wrong>) -> Weather {
        Weather {
            kinds,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            calm: AtomicBool::new(true),
            cut_off_until: Mutex::new(Instant::now()),
            share: AtomicU32::new(0),
        }
    }

    /// Things go wrong from now on, more or less often by `dice` from 0 to 1.
    pub(crate) fn turn_bad(&self, dice: f64) {
        let share = SHARES[(dice * SHARES.len() as f64) as usize % SHARES.len()];
        self.share.store((share * 1e6) as u32, Ordering::Relaxed);
        self.calm.store(false, Ordering::Relaxed);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn turn_calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// The target is out of reach for so long. An outage ends by itself, since whoever waits for it might also have to end it.
    pub(crate) fn cut_off(&self, time: Duration) {
        *self.cut_off_until.lock().unwrap() = Instant::now() + time;
    }

    /// A number from 0 to 1.
    pub(crate) fn dice(&self) -> f64 {
        self.random.lock().unwrap().f64()
    }

    /// What becomes of a request to the target.
    pub(crate) fn of_target(&self, head: &Head, memory: &Arc<Memory>) -> Fate {
        if self.is_calm() {
            return truth(memory);
        }
        if *self.cut_off_until.lock().unwrap() > Instant::now() {
            return Fate::Drop;
        }
        let share = f64::from(self.share.load(Ordering::Relaxed)) / 1e6;
        let share = if is_bulk(&head.path) { share } else { share / OTHERS };
        let (chance, which) = {
            let mut random = self.random.lock().unwrap();
            (random.f64(), random.f64())
        };
        match Wrong::pick(&self.kinds, head, which) {
            Some(wrong) if chance < share => wrong.fate(memory),
            _ => truth(memory),
        }
    }
}
