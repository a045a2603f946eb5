use crate::building::BuildError;

/// A part, and those that it waits for.
#[derive(Clone, Copy)]
pub(super) struct Waits<'a> {
    pub name: &'a str,
    pub on: &'a [usize],
}

/// Whether the parts can be asked one after the other, each after those that it waits for.
///
/// # Errors
/// Some wait for each other.
pub(super) fn in_order(parts: &[Waits<'_>]) -> Result<(), BuildError> {
    let mut done = vec![false; parts.len()];
    loop {
        let mut moved = false;
        for (place, part) in parts.iter().enumerate() {
            let ready = part.on.iter().all(|other| done.get(*other).copied().unwrap_or_default());
            if let Some(done) = done.get_mut(place).filter(|done| ready && !**done) {
                (*done, moved) = (true, true);
            }
        }
        if !moved {
            break;
        }
    }
    let left = |place: &usize| !done.get(*place).copied().unwrap_or_default();
    let Some(first) = (0..parts.len()).find(|place| left(place)) else { return Ok(()) };
    // Each that is left waits for another that is left: following them comes back to one that was met.
    let mut way = vec![first];
    let around = loop {
        let next = way.last().and_then(|place| parts.get(*place)?.on.iter().copied().find(|place| left(place)));
        let Some(next) = next else { break &[] as &[usize] };
        if let Some(from) = way.iter().position(|met| *met == next) {
            break way.get(from..).unwrap_or_default();
        }
        way.push(next);
    };
    let name = |place: &usize| parts.get(*place).map_or("", |part| part.name);
    let mut names: Vec<_> = around.iter().map(name).collect();
    let start = names.first().copied().unwrap_or_default();
    names.push(start);
    let reason = format!("no part of these could be asked first: {}", names.join(" needs "));
    Err(BuildError::new(reason, "take one of the values out").at(start))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Whether a way leads from a place back to it, found in another manner: along every way.
    fn comes_back(graph: &[Vec<usize>], from: usize) -> bool {
        let (mut met, mut open) = (vec![false; graph.len()], graph[from].clone());
        while let Some(place) = open.pop() {
            if place == from {
                return true;
            }
            if !std::mem::replace(&mut met[place], true) {
                open.extend(&graph[place]);
            }
        }
        false
    }

    #[test]
    fn parts_are_in_order_exactly_if_none_waits_for_itself_over_others() {
        let mut orders = [0; 2];
        for seed in 0..4_000 {
            let mut dice = StdRng::seed_from_u64(seed);
            let count = dice.random_range(1..12);
            let graph: Vec<Vec<usize>> =
                (0..count).map(|_| (0..count).filter(|_| dice.random_range(0..count * 2) == 0).collect()).collect();
            let names: Vec<String> = (0..count).map(|place| place.to_string()).collect();
            let parts: Vec<_> = names.iter().zip(&graph).map(|(name, on)| Waits { name, on }).collect();
            let around = (0..count).any(|place| comes_back(&graph, place));
            let Err(error) = in_order(&parts) else {
                assert!(!around, "{graph:?}");
                orders[0] += 1;
                continue;
            };
            assert!(around, "{graph:?}");
            orders[1] += 1;
            let (_, told) = error.reason.split_once(": ").unwrap();
            let told: Vec<usize> = told.split(" needs ").map(|name| name.parse().unwrap()).collect();
            assert!(told.len() > 1 && told.first() == told.last(), "{told:?}");
            assert!(told.windows(2).all(|pair| graph[pair[0]].contains(&pair[1])), "{told:?} is no way in {graph:?}");
        }
        assert!(orders.iter().all(|count| *count > 400), "{orders:?}");
    }
}
