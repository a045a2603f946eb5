use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may keep us waiting in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Slowest {
    /// That a client may be behind. One that does nothing is given up after it.
    pub patience: Duration,
    /// Bytes that make good for a second of waiting; 0 where any byte makes good for all.
    pub rate: u64,
}

/// What a client owes: each second that it was waited for is one, and each byte that moved pays back its share. Time in which nobody waits for it counts
/// for nothing, whatever the reason; and what came fast before gives no credit, or a fast start would buy an endless end.
#[derive(Debug, Default)]
pub struct Pace(Option<Box<Clock>>);

/// Made with the first wait, and kept no longer than the connection is busy.
#[derive(Debug)]
struct Clock {
    since: Option<Instant>,
    owed: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    /// Nothing moves, and the client is waited for. True once it has used up its time; until then the task is woken in time to find out.
    pub fn waits(&mut self, slowest: &Slowest, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let clock = self.0.get_or_insert_with(|| {
            Box::new(Clock { since: None, owed: Duration::ZERO, timer: Box::pin(sleep_until(now + slowest.patience)) })
        });
        let due = *clock.since.get_or_insert(now) + slowest.patience.saturating_sub(clock.owed);
        if clock.timer.deadline() > due {
            clock.timer.as_mut().reset(due);
        }
        // One that was set for an earlier wait rings too soon, which costs less than to set it anew for each.
        while clock.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return true;
            }
            clock.timer.as_mut().reset(due);
        }
        false
    }

    /// So many bytes have moved.
    pub fn moved(&mut self, slowest: &Slowest, bytes: usize) {
        let Some(clock) = &mut self.0 else { return };
        let waited = clock.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        let paid = (bytes as u64).saturating_mul(1_000_000).checked_div(slowest.rate).map_or(Duration::MAX, Duration::from_micros);
        clock.owed = (clock.owed + waited).saturating_sub(paid);
    }

    /// The present wait is not the client's fault.
    pub fn pardon(&mut self) {
        if let Some(clock) = &mut self.0 {
            clock.since = None;
        }
    }

    /// Forgets what is owed.
    pub fn rest(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    const SLOWEST: Slowest = Slowest { patience: Duration::from_secs(30), rate: 240 };

    /// Waits for `time`, or until the client is given up; says which.
    async fn waited(pace: &mut Pace, slowest: &Slowest, time: Duration) -> bool {
        let late = poll_fn(|cx| if pace.waits(slowest, cx) { Poll::Ready(()) } else { Poll::Pending });
        tokio::time::timeout(time, late).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn who_drips_is_given_up_and_who_pauses_is_not() {
        let mut drips = Pace::default();
        assert!(waited(&mut drips, &SLOWEST, Duration::from_secs(20)).await);
        drips.moved(&SLOWEST, 1);
        assert!(waited(&mut drips, &SLOWEST, Duration::from_secs(9)).await);
        drips.moved(&SLOWEST, 1);
        assert!(!waited(&mut drips, &SLOWEST, Duration::from_secs(2)).await, "31 seconds for 2 bytes");

        let mut pauses = Pace::default();
        for _ in 0..10 {
            assert!(waited(&mut pauses, &SLOWEST, Duration::from_secs(29)).await);
            pauses.moved(&SLOWEST, 29 * 240);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_start_buys_no_slow_end_and_our_own_pauses_cost_nothing() {
        let mut pace = Pace::default();
        assert!(waited(&mut pace, &SLOWEST, Duration::from_secs(1)).await);
        pace.moved(&SLOWEST, 100 << 20);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(waited(&mut pace, &SLOWEST, Duration::from_secs(29)).await);
        tokio::time::sleep(Duration::from_secs(100)).await;
        pace.pardon();
        assert!(waited(&mut pace, &SLOWEST, Duration::from_secs(29)).await);
        assert!(!waited(&mut pace, &SLOWEST, Duration::from_secs(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_any_byte_makes_good() {
        let (mut pace, any) = (Pace::default(), Slowest { rate: 0, ..SLOWEST });
        for _ in 0..10 {
            assert!(waited(&mut pace, &any, Duration::from_secs(29)).await);
            pace.moved(&any, 1);
        }
        assert!(!waited(&mut pace, &any, Duration::from_secs(31)).await);
    }
}
