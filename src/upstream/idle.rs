use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::task::unconstrained;
use tokio::time::{MissedTickBehavior, interval};

/// Connections of one worker over which HTTP/1.1 is spoken, and nothing is said now. Those of Pingora's pool are watched by a task each, which is made, woken
/// and ended for every call; these are looked at when one is wanted, and all together now and then.
pub struct Idle {
    /// At most.
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the key of their peers, each from the one that has been idle for the longest time.
    kept: HashMap<u64, VecDeque<Kept>>,
    count: usize,
    is_swept: bool,
}

struct Kept {
    stream: Stream,
    since: Instant,
    /// It is of no use afterwards.
    until: Option<Instant>,
}

/// How often they are looked at.
const SWEEP: Duration = Duration::from_millis(250);

impl Idle {
    /// None yet, and never more than so many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, inner: Mutex::default() })
    }

    /// The one that was used last of those with this key that the other end has not closed. `fits` says whether it is one to be used.
    pub fn take(&self, key: u64, fits: impl Fn(&Stream) -> bool) -> Option<Stream> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let kept = inner.kept.get_mut(&key)?;
        let now = Instant::now();
        while let Some(mut last) = kept.pop_back() {
            inner.count -= 1;
            if last.is_of_use(now) && fits(&last.stream) {
                return Some(last.stream);
            }
        }
        None
    }

    /// Keeps it for so long, unless the other end has closed it or said something, or `alike` are kept with its key. Where there are as many as may be in all
    /// the one that has been idle for the longest time is closed.
    pub fn keep(self: &Arc<Self>, key: u64, stream: Stream, time: Option<Duration>, alike: usize) {
        let since = Instant::now();
        let mut kept = Kept { stream, since, until: time.and_then(|time| since.checked_add(time)) };
        if self.most == 0 || !kept.is_of_use(since) {
            return;
        }
        let mut inner = self.inner.lock();
        if inner.kept.get(&key).map_or(0, VecDeque::len) >= alike {
            return;
        }
        if inner.count >= self.most {
            inner.close_oldest();
        }
        inner.kept.entry(key).or_default().push_back(kept);
        inner.count += 1;
        if !std::mem::replace(&mut inner.is_swept, true) {
            self.sweep_from_now_on();
        }
    }

    /// Until there is none any more, or nobody to take one.
    fn sweep_from_now_on(self: &Arc<Self>) {
        let idle = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut ticks = interval(SWEEP);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                match idle.upgrade() {
                    Some(idle) if idle.sweep() => {}
                    _ => return,
                }
            }
        });
    }

    /// Closes those that are of no use any more. Whether there are others.
    fn sweep(&self) -> bool {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        inner.kept.retain(|_, kept| {
            kept.retain_mut(|one| one.is_of_use(now));
            !kept.is_empty()
        });
        inner.count = inner.kept.values().map(VecDeque::len).sum();
        inner.is_swept = inner.count > 0;
        inner.is_swept
    }
}

impl Inner {
    fn close_oldest(&mut self) {
        let oldest = self.kept.iter_mut().filter_map(|(_, kept)| Some((kept.front()?.since, kept))).min_by_key(|(since, _)| *since);
        if let Some((_, kept)) = oldest {
            kept.pop_front();
            self.count -= 1;
        }
    }
}

impl Kept {
    /// Not where its time is over, or there is something to be read: that is its end, or what nobody has asked for. What the runtime has heard of is looked at,
    /// which asks the system only where there is something.
    fn is_of_use(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| now >= until) {
            return false;
        }
        let read = unconstrained(self.stream.read(&mut [0])).now_or_never();
        if let Some(Ok(1..)) = read {
            let digest = self.stream.get_socket_digest();
            let target = digest.as_ref().and_then(|digest| digest.peer_addr()).map_or_else(|| "a target".to_owned(), ToString::to_string);
            log::warn!("{target} has sent what nobody asked for, behind an answer that was complete: the connection is closed");
        }
        read.is_none()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    /// So many connections, that are kept one after the other with this key, and their other ends.
    fn kept(idle: &Arc<Idle>, key: u64, count: usize) -> Vec<DuplexStream> {
        let keep = |_| {
            let (own, other) = duplex(8);
            idle.keep(key, Box::new(own), LONG, 4);
            other
        };
        (0..count).map(keep).collect()
    }

    /// Which of these other ends the one is connected with that is taken.
    async fn taken(idle: &Idle, key: u64, others: &mut [DuplexStream]) -> Option<usize> {
        let mut stream = idle.take(key, |_| true)?;
        stream.write_all(b"x").await.unwrap();
        others.iter_mut().position(|other| other.read(&mut [0]).now_or_never().is_some_and(|read| matches!(read, Ok(1))))
    }

    async fn is_closed(other: &mut DuplexStream) -> bool {
        timeout(Duration::from_secs(20), other.read(&mut [0])).await.is_ok_and(|read| matches!(read, Ok(0)))
    }

    #[tokio::test]
    async fn the_one_that_was_used_last_is_taken_first_and_each_once() {
        let idle = Idle::new(8);
        let (mut others, _of_another) = (kept(&idle, 1, 2), kept(&idle, 2, 1));
        for expected in [Some(1), Some(0), None] {
            assert_eq!(taken(&idle, 1, &mut others).await, expected);
        }
        assert!(idle.take(3, |_| true).is_none());
    }

    #[tokio::test]
    async fn what_was_closed_or_says_something_unasked_is_not_taken() {
        let idle = Idle::new(8);
        let mut others = kept(&idle, 1, 3);
        others[2].write_all(b"HTTP").await.unwrap();
        others[1].shutdown().await.unwrap();
        assert_eq!(taken(&idle, 1, &mut others).await, Some(0));
        assert!(idle.take(1, |_| true).is_none());
        assert!(is_closed(&mut others[1]).await && is_closed(&mut others[2]).await);
    }

    #[tokio::test]
    async fn one_that_does_not_fit_is_closed() {
        let idle = Idle::new(8);
        let mut others = kept(&idle, 1, 1);
        assert!(idle.take(1, |_| false).is_none());
        assert!(is_closed(&mut others[0]).await);
    }

    #[tokio::test]
    async fn there_are_never_more_than_may_be_and_the_oldest_goes() {
        let idle = Idle::new(2);
        let mut old = kept(&idle, 1, 1);
        let mut others = kept(&idle, 2, 2);
        assert!(is_closed(&mut old[0]).await);
        assert!(idle.take(1, |_| true).is_none());
        assert_eq!(taken(&idle, 2, &mut others).await, Some(1));
        assert_eq!(taken(&idle, 2, &mut others).await, Some(0));
        let mut none = kept(&Idle::new(0), 1, 1);
        assert!(is_closed(&mut none[0]).await);
    }

    #[tokio::test]
    async fn there_are_never_more_with_one_key_than_may_be() {
        let idle = Idle::new(8);
        let (mut others, _of_another) = (kept(&idle, 1, 5), kept(&idle, 2, 1));
        assert!(is_closed(&mut others[4]).await);
        assert_eq!(taken(&idle, 1, &mut others).await, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_closed_without_anybody_who_asks() {
        let idle = Idle::new(8);
        let (own, mut over) = duplex(8);
        idle.keep(1, Box::new(own), Some(Duration::from_nanos(1)), 4);
        let mut others = kept(&idle, 2, 1);
        assert!(is_closed(&mut over).await);
        others[0].shutdown().await.unwrap();
        assert!(is_closed(&mut others[0]).await);
        assert_eq!(idle.inner.lock().count, 0);
        // And those that come later.
        let mut others = kept(&idle, 3, 1);
        others[0].shutdown().await.unwrap();
        assert!(is_closed(&mut others[0]).await);
    }

    #[tokio::test]
    async fn none_outlives_the_worker() {
        let idle = Idle::new(8);
        let mut others = kept(&idle, 1, 1);
        drop(idle);
        assert!(is_closed(&mut others[0]).await);
    }
}
