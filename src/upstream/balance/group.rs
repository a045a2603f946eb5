use crate::building::BuildError;

/// So many requests under way overload no target. While there are few in all, an even share is one or two, and a bound by that alone would send two
/// requests that come at once with the same key to different targets.
pub const FEW: u64 = 8;

/// Targets with the same priority, and the ways to choose one by weight.
#[derive(Debug)]
pub struct Group {
    members: Box<[Member]>,
    /// The sum of the weights.
    total: u64,
    /// Whether all weights are the same.
    even: bool,
}

/// One of them.
#[derive(Debug)]
pub struct Member {
    /// Its place in the list of all targets.
    pub index: usize,
    weight: u64,
    /// The sum of the weights up to its own.
    upto: u64,
    seed: u64,
}

impl Group {
    /// Targets as index, weight and seed; those without weight are left out.
    ///
    /// # Errors
    /// None is left.
    pub fn build(targets: impl IntoIterator<Item = (usize, u32, u64)>) -> Result<Self, BuildError> {
        let weighted: Vec<_> = targets.into_iter().filter(|(_, weight, _)| *weight > 0).collect();
        let Some((_, first, _)) = weighted.first() else {
            return Err(BuildError::new("every weight is zero", "give at least one target a weight above zero"));
        };
        let even = weighted.iter().all(|(_, weight, _)| weight == first);
        let mut total = 0;
        let members = weighted.iter().map(|(index, weight, seed)| {
            // Where all are the same they may as well be one: a point is then a place.
            let weight = if even { 1 } else { u64::from(*weight) };
            total += weight;
            Member { index: *index, weight, upto: total, seed: *seed }
        });
        let members = members.collect();
        Ok(Self { members, total, even })
    }

    /// The members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn at(&self, point: u64) -> Option<&Member> {
        let searched = || self.members.partition_point(|member| member.upto <= point);
        self.members.get(if self.even { usize::try_from(point).unwrap_or_default() } else { searched() })
    }

    fn draw(&self) -> Option<&Member> {
        self.at(below(self.total))
    }

    /// Any but `first`.
    fn draw_other(&self, first: &Member) -> Option<&Member> {
        let point = below(self.total - first.weight);
        self.at(if point < first.upto - first.weight { point } else { point + first.weight })
    }

    /// One by lot, of those that are free.
    pub fn random(&self, free: impl Fn(&Member) -> bool) -> Option<&Member> {
        self.draw().filter(|member| free(member)).or_else(|| {
            let total = self.members.iter().filter(|member| free(member)).map(|member| member.weight).sum();
            let mut point = below(total);
            self.members.iter().filter(|member| free(member)).find(|member| match point.checked_sub(member.weight) {
                Some(rest) => {
                    point = rest;
                    false
                }
                None => true,
            })
        })
    }

    /// Of two by lot the one with less `load` for its weight, of those that are free.
    pub fn least(&self, free: impl Fn(&Member) -> bool, load: impl Fn(&Member) -> u64) -> Option<&Member> {
        let lighter = |one, other| if weighs_less(other, one, &load) { other } else { one };
        let first = self.draw()?;
        let second = self.draw_other(first).unwrap_or(first);
        match (free(first), free(second)) {
            (true, true) => Some(lighter(first, second)),
            (true, false) => Some(first),
            (false, true) => Some(second),
            (false, false) => self.members.iter().filter(|member| free(member)).reduce(lighter),
        }
    }

    /// The first in the order of the key, of those that are free, whose `load` would not rise over [`FEW`] and `bound` times its share.
    pub fn hashed(&self, key: u64, bound: f64, free: impl Fn(&Member) -> bool, load: impl Fn(&Member) -> u64) -> Option<&Member> {
        let first = self.nearest(key, &free)?;
        // Nothing needs to be added up.
        if load(first) < FEW {
            return Some(first);
        }
        let (mut requests, mut weights) = (1, 0);
        for member in self.members.iter().filter(|member| free(member)) {
            requests += load(member);
            weights += member.weight;
        }
        let fair = bound * requests as f64 / weights as f64;
        let fits = |member: &Member| {
            let load = load(member);
            load < FEW || (load + 1) as f64 <= (fair * member.weight as f64).ceil()
        };
        if fits(first) { Some(first) } else { self.nearest(key, |member| free(member) && fits(member)).or(Some(first)) }
    }

    /// Rendezvous hashing: each target scores on its own, so that one more or less changes nothing between the others.
    pub fn nearest(&self, key: u64, free: impl Fn(&Member) -> bool) -> Option<&Member> {
        let free = self.members.iter().filter(|member| free(member));
        if self.even {
            return free.max_by_key(|member| mix(key ^ member.seed));
        }
        // The score is the weight over -ln(unit): the highest has a chance of winning that is just its weight's share.
        let mut best: (f64, Option<&Member>) = (0.0, None);
        for member in free {
            let unit = unit(key ^ member.seed);
            let weight = member.weight as f64;
            // -ln(x) is never below 1 - x: most need no logarithm to be beaten.
            if weight > best.0 * (1.0 - unit) {
                let score = weight / -unit.ln();
                if score > best.0 {
                    best = (score, Some(member));
                }
            }
        }
        best.1
    }
}

fn weighs_less(one: &Member, other: &Member, load: impl Fn(&Member) -> u64) -> bool {
    load(one).saturating_mul(other.weight) < load(other).saturating_mul(one.weight)
}

/// A random number below `most`; 0 where there is none.
fn below(most: u64) -> u64 {
    u64::try_from((u128::from(rand::random::<u64>()) * u128::from(most)) >> 64).unwrap_or_default()
}

/// A hash that is the same on every machine and in every version: FNV-1a, its bits mixed.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0xff]));
    mix(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// A number from 0 to 1 that is the target's own in each lot.
pub fn lot(lot: u64, index: usize) -> f64 {
    unit(lot.rotate_left(32) ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A hash as a number between 0 and 1, both excluded.
fn unit(number: u64) -> f64 {
    ((mix(number) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Each bit of the result depends on each bit of the number (the finalizer of SplitMix64).
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
