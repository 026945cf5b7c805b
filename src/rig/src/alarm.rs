//! A timer that is right to some 0.1 ms, where tokio's wheel rounds up to the next millisecond.
//!
//! What is measured here lasts milliseconds: an engine that answers a millisecond late, or a load
//! whose requests leave a millisecond late, would be counted against the proxy between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Wakes futures at their instants, from a thread of its own that sleeps in between. The thread
/// ends with the last clone.
#[derive(Clone, Debug)]
pub struct Alarm(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// By number of the sleep; one that was dropped is not here any more.
    wakers: HashMap<u64, Waker>,
    next: u64,
    ended: bool,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarm {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = Arc::clone(&shared);
        std::thread::Builder::new().name("alarm".into()).spawn(move || ring(&thread))?;
        Ok(Self(Arc::new(Owner(shared))))
    }

    /// Is ready at `due`, or at once if that has passed.
    #[must_use]
    pub fn sleep_until(&self, due: Instant) -> Sleep {
        Sleep { due, shared: Arc::clone(&self.0.0), number: None }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.locked().ended = true;
        self.0.changed.notify_one();
    }
}

fn ring(shared: &Shared) {
    let mut woken = Vec::new();
    let mut state = shared.locked();
    while !state.ended {
        let now = Instant::now();
        while let Some(&Reverse((due, number))) = state.due.peek() {
            if due > now {
                break;
            }
            state.due.pop();
            woken.extend(state.wakers.remove(&number));
        }
        if !woken.is_empty() {
            drop(state);
            woken.drain(..).for_each(Waker::wake);
            state = shared.locked();
            continue;
        }
        state = match state.due.peek() {
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(Reverse((due, _))) => {
                let left = due.saturating_duration_since(now);
                let waited = shared.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// See [`Alarm::sleep_until`].
#[derive(Debug)]
pub struct Sleep {
    due: Instant,
    shared: Arc<Shared>,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.locked();
        let number = *self.number.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        if state.wakers.insert(number, context.waker().clone()).is_none() {
            let first = state.due.peek().is_none_or(|Reverse((due, _))| self.due < *due);
            state.due.push(Reverse((self.due, number)));
            drop(state);
            if first {
                shared.changed.notify_one();
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            // Its place in the heap goes when its time comes.
            self.shared.locked().wakers.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_their_order_and_never_early() {
        let alarm = Alarm::start().unwrap();
        let start = Instant::now();
        let sleep = |millis| {
            let due = start + Duration::from_millis(millis);
            let sleep = alarm.sleep_until(due);
            async move {
                sleep.await;
                assert!(Instant::now() >= due);
                millis
            }
        };
        let (slow, quick) = (tokio::spawn(sleep(40)), tokio::spawn(sleep(10)));
        drop(alarm.sleep_until(start + Duration::from_millis(5)));
        tokio::select! {
            first = quick => assert_eq!(first.unwrap(), 10),
            first = slow => panic!("{} came first", first.unwrap()),
        }
        sleep(0).await;
    }
}
