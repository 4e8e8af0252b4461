//! Threads that share the work of one step after another.
//!
//! A token of a small model takes some 150 products of a few microseconds each, so that what it
//! costs to wake a thread would be most of the time. The threads of a [`Team`] watch for the next
//! piece of work for a while before they sleep. Who does which task changes no result: tasks are
//! independent of each other.

#![expect(unsafe_code, reason = "work that borrows is lent to threads that live longer")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::model::kernels::Isa;

/// How long a thread watches for work before it sleeps: longer than what lies between the
/// products of a step and between two steps.
const WATCH: Duration = Duration::from_micros(500);

/// Looks between two looks at the clock.
const LOOKS: u32 = 256;

/// The threads, and the instructions, that kernels are run with.
///
/// One caller at a time is helped; a second one does its work alone. Tasks must not call the team.
#[derive(Debug)]
pub struct Team {
    isa: Isa,
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by the caller that is helped.
    turn: Mutex<()>,
}

type Work = &'static (dyn Fn() + Sync);

struct Shared {
    /// The number of the latest piece of work times `STEP`, [`OPEN`] while it may be joined, and
    /// how many helpers are at it.
    state: AtomicU64,
    work: Mutex<Option<Work>>,
    n_asleep: AtomicUsize,
    is_over: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

const OPEN: u64 = 1 << 15;
const STEP: u64 = 1 << 16;

impl Team {
    /// A team of `n_threads`, the caller being one of them.
    ///
    /// # Errors
    /// Where the system gives no threads.
    pub fn new(isa: Isa, n_threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            work: Mutex::new(None),
            n_asleep: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut team = Self { isa, shared, helpers: Vec::new(), turn: Mutex::new(()) };
        for idx in 1..n_threads {
            let shared = Arc::clone(&team.shared);
            let builder = thread::Builder::new().name(format!("engine-{idx}"));
            team.helpers.push(builder.spawn(move || shared.help())?);
        }
        Ok(team)
    }

    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads work at most.
    pub fn n_threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Does every task, in any order and on any thread.
    ///
    /// # Panics
    /// Where a task panics.
    pub fn for_each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Sync) {
        let turn = match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if tasks.len() <= 1 || self.helpers.is_empty() || turn.is_none() {
            tasks.into_iter().for_each(work);
            return;
        }
        let tasks: Vec<Mutex<Option<T>>> =
            tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
        let next = AtomicUsize::new(0);
        self.run(&|| {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(task) = lock(task).take() {
                    work(task);
                }
            }
        });
    }

    /// Runs `work` here, and on every helper that comes before it has ended here.
    fn run(&self, work: &(dyn Fn() + Sync)) {
        // SAFETY: the reference is handed out only while the state is open, each helper that got
        // it is counted in the state, and `Closing` does not return before that count is 0 again,
        // also when `work` panics. So nobody holds it when this function returns.
        let work: Work = unsafe { std::mem::transmute(work) };
        *lock(&self.shared.panic) = None;
        *lock(&self.shared.work) = Some(work);
        let number = self.shared.state.load(Ordering::Relaxed) / STEP + 1;
        let closing = Closing(&self.shared);
        self.shared.state.store(number * STEP + OPEN, Ordering::SeqCst);
        if 0 < self.shared.n_asleep.load(Ordering::SeqCst) {
            for helper in &self.helpers {
                helper.thread().unpark();
            }
        }
        work();
        drop(closing);
        if let Some(panic) = lock(&self.shared.panic).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper hands its panics to the caller, and has none of its own.
            drop(helper.join());
        }
    }
}

/// Closes the work when dropped, and waits for those that are at it.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0_u32;
        while !self.0.state.load(Ordering::Acquire).is_multiple_of(OPEN) {
            looks += 1;
            // Who is waited for may need this very processor.
            if looks.is_multiple_of(16 * LOOKS) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        *lock(&self.0.work) = None;
    }
}

impl Shared {
    /// What a helper does all its life.
    fn help(&self) {
        let mut last = 0;
        while let Some(number) = self.watch(last) {
            last = number;
            if !self.enter(number) {
                continue;
            }
            let work = *lock(&self.work);
            if let Some(work) = work
                && let Err(panic) = catch_unwind(AssertUnwindSafe(work))
            {
                *lock(&self.panic) = Some(panic);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for work after the one numbered `last`; `None` once there will be none.
    fn watch(&self, last: u64) -> Option<u64> {
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                let state = self.state.load(Ordering::Acquire);
                if is_news(state, last) {
                    return Some(state / STEP);
                }
                std::hint::spin_loop();
            }
            if self.is_over.load(Ordering::Acquire) {
                return None;
            }
            if WATCH < since.get_or_insert_with(Instant::now).elapsed() {
                self.n_asleep.fetch_add(1, Ordering::SeqCst);
                // Looked at once more, since work that came before the line above wakes nobody.
                let state = self.state.load(Ordering::SeqCst);
                if !is_news(state, last) && !self.is_over.load(Ordering::SeqCst) {
                    thread::park();
                }
                self.n_asleep.fetch_sub(1, Ordering::SeqCst);
                since = None;
            }
        }
    }

    /// Joins the work of that number, unless it is closed.
    fn enter(&self, number: u64) -> bool {
        let join = |state: u64| (state / STEP == number && state & OPEN != 0).then_some(state + 1);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, join).is_ok()
    }
}

/// Whether there is work to join after that numbered `last`.
fn is_news(state: u64, last: u64) -> bool {
    state / STEP != last && state & OPEN != 0
}

/// What is under these locks is whole at every moment, also after a panic.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for n_threads in [1, 2, 5] {
            let team = Team::new(Isa::Portable, n_threads).unwrap();
            for n_tasks in [0, 1, 2, 7, 100] {
                for _ in 0..50 {
                    let mut done = vec![0; n_tasks];
                    team.for_each(done.iter_mut().collect(), |count| *count += 1);
                    assert_eq!(done, vec![1; n_tasks]);
                }
            }
        }
    }

    #[test]
    fn helpers_help_also_after_a_sleep() {
        let team = Team::new(Isa::Portable, 3).unwrap();
        for _ in 0..3 {
            // Each of three tasks waits for the others, so three threads must be at them.
            let barrier = Barrier::new(3);
            team.for_each(vec![(); 3], |()| {
                barrier.wait();
            });
            thread::sleep(4 * WATCH);
        }
    }

    #[test]
    fn panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(Isa::Portable, 2).unwrap();
        for bad in 0..20 {
            let run = || team.for_each((0..20).collect(), |i| assert_ne!(i, bad, "as planned"));
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        }
        let sum = AtomicUsize::new(0);
        team.for_each((0..10).collect(), |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn second_caller_works_alone() {
        let team = Team::new(Isa::Portable, 2).unwrap();
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        team.for_each(vec![(); 10], |()| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4_000);
    }
}
