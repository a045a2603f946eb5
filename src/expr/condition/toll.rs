//! What loops cost. A condition is worked out on a worker, while all its other requests wait: so a loop is paid for before it begins, by its items and by
//! what is done with each, and what lies outside of it each time that it is looked at again.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cel::ExecutionError;
use cel::common::ast::{EntryExpr, Expr, LiteralValue};
use cel::common::types::{CelList, CelMap, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::parser::Expression;

/// The function that loops are paid at: it gives back what it is given to go through.
pub(super) const LOOP: &str = "@loop";

/// The type of its second argument.
pub(super) const TOLL: Type = Type::new_unspecified_type("toll");

static TYPE: Type = TOLL;

/// Steps of all loops and regexes of one condition, and values that loops look at.
const STEPS: usize = 128 * 1024;

/// Bytes of text that they look at.
const BYTES: usize = 1024 * 1024;

/// Bytes of a text in an expression that cost as much as a step.
const LONG: usize = 64;

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Values, those within others too.
    pub values: usize,
    /// Bytes of their texts and names.
    pub bytes: usize,
}

/// What may still be looked at, by all of one condition.
#[derive(Debug)]
pub(super) struct Left {
    values: AtomicUsize,
    bytes: AtomicUsize,
}

impl Left {
    /// So much.
    pub fn new(values: usize, bytes: usize) -> Self {
        Self { values: values.into(), bytes: bytes.into() }
    }

    /// So much as loops and regexes may take.
    pub fn of_work() -> Self {
        Self::new(STEPS, BYTES)
    }

    /// Takes so much of it; none where it is not there.
    pub fn take(&self, size: Size) -> Option<()> {
        let take =
            |left: &AtomicUsize, count| left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left: usize| left.checked_sub(count)).ok();
        take(&self.values, size.values)?;
        take(&self.bytes, size.bytes).map(|_| ())
    }
}

impl Size {
    /// That of a value.
    pub fn of<'v>(value: &(dyn Val + 'v)) -> Self {
        let one = Self { values: 1, bytes: 0 };
        if let Some(text) = value.downcast_ref::<CelString<'_>>() {
            Self { bytes: text.len(), ..one }
        } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
            list.iter().fold(one, |sum, item| sum.and(Self::of(&**item)))
        } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
            map.iter().fold(one, |sum, (name, value)| sum.and(Self::of(name.inner())).and(Self::of(&**value)))
        } else {
            one
        }
    }

    fn and(self, other: Self) -> Self {
        Self { values: self.values.saturating_add(other.values), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn times(self, count: usize) -> Self {
        Self { values: self.values.saturating_mul(count), bytes: self.bytes.saturating_mul(count) }
    }
}

/// What a loop does with each item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Operators, names and values.
    steps: usize,
    /// How often it names the item.
    uses: usize,
}

impl Work {
    /// That of these expressions, with the item under this name.
    pub fn of<'e>(expressions: impl IntoIterator<Item = &'e Expression>, item: &str) -> Self {
        let mut work = Self { steps: 0, uses: 0 };
        expressions.into_iter().for_each(|expression| work.add(expression, item));
        work
    }

    fn add(&mut self, expression: &Expression, item: &str) {
        self.steps += 1;
        match &expression.expr {
            Expr::Ident(name) => self.uses += usize::from(name == item),
            Expr::Literal(LiteralValue::String(text)) => self.steps += text.len() / LONG,
            _ => within(expression, &mut |inner| self.add(inner, item)),
        }
    }
}

/// Visits what stands directly within an expression.
pub(super) fn within<'e>(expression: &'e Expression, visit: &mut dyn FnMut(&'e Expression)) {
    match &expression.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(visit),
        Expr::Select(select) => visit(&select.operand),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    visit(&entry.key);
                    visit(&entry.value);
                }
            }
        }
        Expr::Comprehension(inner) => {
            [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result].into_iter().for_each(visit);
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}

/// What one loop costs, and what that is taken from.
#[derive(Clone, Debug)]
pub(super) struct Toll {
    work: Work,
    left: Arc<Left>,
}

impl Toll {
    pub fn new(work: Work, left: Arc<Left>) -> Self {
        Self { work, left }
    }
}

impl Val for Toll {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Toll {}

/// Pays for a loop over the first argument. What is no list and no map has no items, which the loop itself will tell.
pub(super) fn pay<'b, 'v>(mut arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (Some(toll), Some(range)) = (arguments.pop(), arguments.pop()) else { return Err(ExecutionError::missing_argument_or_target()) };
    let Some(Toll { work, left }) = toll.downcast_ref::<Toll>() else { return Err(ExecutionError::missing_argument_or_target()) };
    let items = match (range.downcast_ref::<CelList<'_>>(), range.downcast_ref::<CelMap<'_>>()) {
        (Some(list), _) => list.len(),
        (_, Some(map)) => map.len(),
        (None, None) => 0,
    };
    // To go through it is one use of each.
    let steps = Size { values: items.saturating_mul(work.steps), bytes: 0 };
    let cost = steps.and(Size::of(&*range).times(work.uses.saturating_add(1)));
    left.take(cost).map(|()| range).ok_or_else(|| ExecutionError::function_error(LOOP, "it takes too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_a_value_has_its_size() {
        let text = |text: &'static str| Box::new(CelString::from(text)) as Box<dyn Val>;
        let list = || Box::new(CelList::from(vec![text("ab"), text("c")])) as Box<dyn Val>;
        assert_eq!(Size::of(&*list()), Size { values: 3, bytes: 3 });
        let map = CelMap::from(
            [(cel::common::types::CelMapKey::String("name".into()), list())].into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        assert_eq!(Size::of(&map), Size { values: 5, bytes: 7 });
    }

    #[test]
    fn what_is_not_left_cannot_be_taken() {
        let left = Left::new(5, 10);
        assert!(left.take(Size { values: 3, bytes: 10 }).is_some());
        assert!(left.take(Size { values: 3, bytes: 0 }).is_none() && left.take(Size { values: 0, bytes: 1 }).is_none());
        assert!(left.take(Size { values: 2, bytes: 0 }).is_some());
    }
}
