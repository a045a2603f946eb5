//! What a client can read, as it says itself.

use http::{HeaderMap, header};

use crate::types::Coding;

/// What a client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What it likes best of what there is.
    pub coding: Option<Coding>,
    /// Whether it refuses what is not encoded.
    pub insists: bool,
}

impl Wish {
    /// By the weights that a client gives to these (RFC 9110 §12.4.2, §12.5.3), and of equal ones the first.
    pub fn of(headers: &HeaderMap, with: &[Coding]) -> Self {
        let mut any = None;
        let mut own = None;
        let mut known = [None; 3];
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for member in lines.flat_map(|line| line.split(',')) {
            let (name, weight) = member.split_once(';').unwrap_or((member, ""));
            let (name, Some(weight)) = (name.trim(), weight_of(weight)) else { continue };
            let place = with.iter().position(|coding| coding.is_named(name));
            match place.and_then(|place| known.get_mut(place)) {
                Some(known) => *known = Some(weight),
                None if name == "*" => any = Some(weight),
                None if name.eq_ignore_ascii_case("identity") => own = Some(weight),
                None => {}
            }
        }
        let mut best = (0, None);
        for (coding, weight) in with.iter().zip(known) {
            let weight = weight.or(any).unwrap_or(0);
            if weight > best.0 {
                best = (weight, Some(*coding));
            }
        }
        let coding = best.1.filter(|_| own.is_none_or(|own| own <= best.0));
        Self { coding, insists: coding.is_some() && own.or(any) == Some(0) }
    }
}

/// A weight in thousandths: 1000 where there is none; none where it cannot be read.
fn weight_of(parameter: &str) -> Option<u16> {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameter.split_once('=')?;
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let is_weight = name.trim().eq_ignore_ascii_case("q") && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{part:0<3}").parse::<u16>().ok().filter(|_| is_weight)?;
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}
