use tokio::time::Instant;

/// A bucket of tokens, so many more each second. The clock is only looked at when it is empty.
pub struct Budget {
    left: u32,
    most: u32,
    rate: u32,
    filled: Instant,
}

impl Budget {
    /// Full at first, with what `seconds` would bring.
    pub fn new(rate: u32, seconds: u32) -> Self {
        let most = rate.saturating_mul(seconds);
        Self { left: most, most, rate, filled: Instant::now() }
    }

    pub fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    /// False where nothing is left.
    pub fn spend(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let came = (now - self.filled).as_millis().saturating_mul(self.rate.into()) / 1000;
            if came == 0 {
                return false;
            }
            (self.left, self.filled) = (u32::try_from(came).unwrap_or(u32::MAX).min(self.most), now);
        }
        self.left -= 1;
        true
    }
}
