//! Threads, one a program that runs; they stay for the next.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::program::Order;

/// How long a thread waits for another program before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// Enough for reading into a buffer on the heap; as many threads as programs have to fit.
const STACK_BYTES: usize = 256 * 1024;

/// How much one read takes: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// The threads of a runner. Dropping them lets each finish what it does, and no more.
#[derive(Default)]
pub(super) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told of orders, and of the end.
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Never more than there are idle threads.
    orders: VecDeque<Order>,
    idle: usize,
    closed: bool,
}

impl Threads {
    /// Gives an order to a thread, a new one if none is idle.
    pub(super) fn take(&self, order: Order) -> io::Result<()> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.idle > queue.orders.len() {
            queue.orders.push_back(order);
            drop(queue);
            self.0.news.notify_one();
            return Ok(());
        }
        drop(queue);
        let shared = Arc::clone(&self.0);
        thread::Builder::new()
            .name("command".into())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.work(order))?;
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        drop(queue);
        self.0.news.notify_all();
    }
}

impl Shared {
    fn work(&self, first: Order) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut next = Some(first);
        while let Some(order) = next {
            if !order.carry_out(&mut chunk) {
                // The system may have no room for a process because it has given it to threads like this one. One that
                // stayed would be in the way of what it is for.
                return;
            }
            next = self.next();
        }
    }

    /// The next order; nothing if none comes for a while, or ever.
    fn next(&self) -> Option<Order> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.idle += 1;
        let waiting = |queue: &mut Queue| queue.orders.is_empty() && !queue.closed;
        let (mut queue, _) = self
            .news
            .wait_timeout_while(queue, IDLE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        queue.orders.pop_front()
    }
}
