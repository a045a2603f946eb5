use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::building::BuildError;

/// Weighted round robin over targets: one turn of the rotation is worked out when it is built, so that a pick is one addition.
#[derive(Debug)]
pub struct Rotation {
    turn: Box<[u16]>,
    count: Arc<AtomicUsize>,
}

/// Picks in one turn at most: 128 KB.
const LONGEST: u32 = 65_536;

impl Rotation {
    /// Spreads the picks of each target evenly over one turn: 3 and 1 give a a b a, not a a a b. `count` says how far the rotation has come.
    ///
    /// # Errors
    /// Weights that are all zero, or too fine to be spread over one turn.
    pub fn build(weights: &[u32], count: Arc<AtomicUsize>) -> Result<Self, BuildError> {
        let divisor = weights.iter().copied().filter(|weight| *weight > 0).reduce(gcd);
        let Some(divisor) = divisor else {
            return Err(BuildError::new("every weight is zero", "give at least one target a weight above zero"));
        };
        let weights: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
        let total = weights.iter().try_fold(0_u32, |sum, weight| sum.checked_add(*weight)).filter(|total| *total <= LONGEST);
        let Some(total) = total.filter(|_| weights.len() <= usize::from(u16::MAX)) else {
            return Err(BuildError::new("the weights are too large to be kept exactly", "use smaller numbers, like 1 to 100"));
        };
        // Each step pays every target its weight and takes one whole turn from the richest.
        let mut credit = vec![0_i64; weights.len()];
        let mut turn = Vec::with_capacity(total as usize);
        for _ in 0..total {
            credit.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += i64::from(*weight));
            let richest =
                credit.iter().enumerate().max_by_key(|(index, credit)| (**credit, std::cmp::Reverse(*index))).map(|(index, _)| index);
            if let Some((index, credit)) = richest.and_then(|index| credit.get_mut(index).map(|credit| (index, credit))) {
                *credit -= i64::from(total);
                turn.push(u16::try_from(index).unwrap_or_default());
            }
        }
        Ok(Self { turn: turn.into(), count })
    }

    /// The place of the next one.
    pub fn next(&self) -> usize {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        self.turn.get(count % self.turn.len()).copied().unwrap_or_default().into()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(weights: &[u32]) -> Vec<u16> {
        Rotation::build(weights, Arc::default()).unwrap().turn.into()
    }

    #[test]
    fn picks_are_spread_over_the_turn_by_weight() {
        assert_eq!(turn(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(turn(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(turn(&[50, 100]), [1, 0, 1]);
        assert_eq!(turn(&[0, 7]), [1]);
    }

    #[test]
    fn weights_that_leave_nothing_to_pick_are_refused() {
        assert!(Rotation::build(&[0, 0], Arc::default()).is_err());
        assert!(Rotation::build(&[65_537, 1], Arc::default()).is_err());
    }

    #[test]
    fn a_rotation_goes_on_where_the_one_before_it_was() {
        let count = Arc::new(AtomicUsize::new(0));
        assert_eq!(Rotation::build(&[1, 1], count.clone()).unwrap().next(), 0);
        assert_eq!(Rotation::build(&[1, 1], count).unwrap().next(), 1);
    }
}
