//! In which order parts are asked, for `explain`.

use super::plan::Composition;

/// When a part is asked.
#[derive(Debug)]
pub struct Step<'c> {
    /// The part.
    pub part: &'c str,
    /// From 1: the longest way to it from a part that needs none.
    pub number: usize,
    /// The parts that it waits for: it is asked as soon as the last of them is there.
    pub after: Vec<&'c str>,
}

impl Composition {
    /// Every part, in the order in which they are asked; those of one number in that of the config.
    pub fn steps(&self) -> Vec<Step<'_>> {
        let mut numbers = vec![1; self.parts.len()];
        // None needs itself, so no way is longer than there are parts.
        for _ in 0..self.parts.len() {
            for (place, part) in self.parts.iter().enumerate() {
                let before = part.needs.iter().filter_map(|need| numbers.get(*need)).max().map_or(1, |last: &usize| last + 1);
                if let Some(number) = numbers.get_mut(place) {
                    *number = before;
                }
            }
        }
        let name = |place: &usize| self.parts.get(*place).map(|part| &*part.name);
        let mut steps: Vec<_> = self
            .parts
            .iter()
            .zip(numbers)
            .map(|(part, number)| Step { part: &part.name, number, after: part.needs.iter().filter_map(name).collect() })
            .collect();
        steps.sort_by_key(|step| step.number);
        steps
    }
}
