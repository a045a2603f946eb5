use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::parser::Expression;

use super::Names;
use super::pattern::Pattern;
use super::reference::{How, Looks, Reference, Step};
use super::toll::{self, Work};
use crate::building::{BuildError, did_you_mean};

/// The way through an expression that leaves numbered places where it says something of the world.
pub(super) struct Rewrite<'a> {
    names: Names<'a>,
    pub places: Vec<Reference>,
    /// The names that loops have given to their items.
    bound: Vec<String>,
    loops: Loops,
    /// How many there were.
    count: usize,
    depth: usize,
}

/// Loops of one expression at most: one behind the other they take much of the stack.
const MOST_LOOPS: usize = 8;

/// Names in one sum at most: the first value is copied for each of the others.
const LONGEST_SUM: usize = 10;

/// Where in loops it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loops {
    Outside,
    Inside,
}

/// The deepest expression: each level takes some of a worker's stack.
const DEEPEST: usize = 32;

/// Operators that are no functions to the eye.
const OPERATORS: [&str; 19] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];

const FUNCTIONS: [&str; 12] =
    ["size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bool", "type", "dyn"];

/// Types are values too: `type(x) == int`.
const TYPES: [&str; 9] = ["int", "uint", "double", "bool", "string", "list", "map", "null_type", "type"];

impl<'a> Rewrite<'a> {
    pub fn new(names: Names<'a>) -> Self {
        Self { names, places: Vec::new(), bound: Vec::new(), loops: Loops::Outside, count: 0, depth: 0 }
    }

    /// Goes through an expression and all that is in it.
    ///
    /// # Errors
    /// What is not known, or too deep.
    pub fn all(&mut self, expression: &mut Expression) -> Result<(), BuildError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(BuildError::new(format!("the condition is nested deeper than {DEEPEST}"), "write a flatter one"));
        }
        let done = self.one(expression);
        self.depth -= 1;
        done
    }

    fn one(&mut self, expression: &mut Expression) -> Result<(), BuildError> {
        if let Some(place) = self.place(expression)? {
            let looks = if self.loops == Loops::Inside { Looks::Again } else { Looks::Once };
            expression.expr = self.put(Reference { looks, ..place });
            return Ok(());
        }
        self.sum(expression)?;
        match &mut expression.expr {
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                if !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
                    let fix = match did_you_mean(name, FUNCTIONS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are: {}, has, all, exists, exists_one, map, filter", FUNCTIONS.join(", ")),
                    };
                    return Err(BuildError::new(format!("there is no function `{name}`"), fix));
                }
                if name == "matches" {
                    // One form for both, `x.matches('…')` and `matches(x, '…')`.
                    call.args.splice(0..0, call.target.take().map(|target| *target));
                    let [_, pattern] = call.args.as_mut_slice() else {
                        return Err(BuildError::new("`matches` takes a text and a regex", "write `path.matches('^/api/')`"));
                    };
                    let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
                        return Err(BuildError::new("the regex of `matches` is not written out", "write it as a text, like `'^/api/'`"));
                    };
                    let reference = Reference::pattern(Pattern::parse(text.inner())?);
                    pattern.expr = self.put(reference);
                    return call.args.first_mut().map_or(Ok(()), |text| self.all(text));
                }
                call.target.iter_mut().try_for_each(|target| self.all(target))?;
                call.args.iter_mut().try_for_each(|argument| self.all(argument))
            }
            Expr::Comprehension(comprehension) => {
                if self.loops == Loops::Inside {
                    return Err(BuildError::new("a loop stands within a loop", "write them one after the other"));
                }
                self.count += 1;
                if self.count > MOST_LOOPS {
                    return Err(BuildError::new(format!("there are more than {MOST_LOOPS} loops"), "write fewer"));
                }
                self.all(&mut comprehension.iter_range)?;
                self.all(&mut comprehension.accu_init)?;
                let bound = [Some(&comprehension.iter_var), comprehension.iter_var2.as_ref(), Some(&comprehension.accu_var)];
                self.bound.extend(bound.into_iter().flatten().cloned());
                self.loops = Loops::Inside;
                let inside = [&mut comprehension.loop_cond, &mut comprehension.loop_step, &mut comprehension.result];
                let done = inside.into_iter().try_for_each(|inside| self.all(inside));
                self.loops = Loops::Outside;
                self.bound.clear();
                done?;
                let inside = [&comprehension.loop_cond, &comprehension.loop_step];
                let toll = self.put(Reference::of_loop(Work::of(inside, &comprehension.iter_var)));
                let range = std::mem::take(&mut comprehension.iter_range);
                let args = vec![range, Expression { id: 0, expr: toll }];
                comprehension.iter_range.expr = Expr::Call(CallExpr { func_name: toll::LOOP.to_owned(), target: None, args });
                Ok(())
            }
            Expr::Ident(name) if self.bound.contains(name) || TYPES.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => Err(BuildError::new(format!("`{name}` stands for nothing here"), "write names without a dot before them")),
            Expr::Select(select) => self.all(&mut select.operand),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.all(element)),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => self.all(&mut entry.key).and_then(|()| self.all(&mut entry.value)),
                EntryExpr::StructField(_) => Err(no_messages()),
            }),
            Expr::Struct(_) => Err(no_messages()),
            Expr::Literal(_) => Ok(()),
            Expr::Unspecified => Err(BuildError::new("the condition is empty", "write one, like `query.page != \"1\"`")),
        }
    }

    /// Gives a reference a place.
    fn put(&mut self, reference: Reference) -> Expr {
        self.places.push(reference);
        Expr::Ident(format!("@{}", self.places.len() - 1))
    }

    /// Whether a sum has no more names than it may.
    fn sum(&self, expression: &Expression) -> Result<(), BuildError> {
        let Expr::Call(call) = &expression.expr else { return Ok(()) };
        // What a loop has put together so far is not copied.
        let loops = call.args.first().is_some_and(|first| matches!(&first.expr, Expr::Ident(name) if name.starts_with('@')));
        if call.func_name != operators::ADD || loops {
            return Ok(());
        }
        match names(expression) {
            count if count > LONGEST_SUM => {
                let reason = format!("a sum has {count} names");
                Err(BuildError::new(reason, format!("write at most {LONGEST_SUM}, or compare the values one by one")))
            }
            _ => Ok(()),
        }
    }

    /// What an expression as a whole says of the world, where it does.
    fn place(&self, expression: &Expression) -> Result<Option<Reference>, BuildError> {
        let resolve = |found: Option<(&str, Vec<Step>)>, how| {
            found.map(|(root, steps)| Reference::resolve(root, &steps, how, self.names)).transpose()
        };
        match &expression.expr {
            Expr::Select(select) if select.test => {
                let found = self.chain(&select.operand).map(|(root, mut steps)| {
                    steps.push(Step::Name(select.field.clone()));
                    (root, steps)
                });
                resolve(found, How::Has)
            }
            Expr::Call(call) if call.func_name == "size" => match (&call.target, call.args.as_slice()) {
                (Some(of), []) => resolve(self.chain(of), How::Size),
                (None, [of]) => resolve(self.chain(of), How::Size),
                _ => Ok(None),
            },
            Expr::Call(call) if call.func_name == operators::IN => match call.args.as_slice() {
                [name, of] => match (&name.expr, self.chain(of)) {
                    (Expr::Literal(LiteralValue::String(name)), Some((root @ ("header" | "query" | "claims"), steps)))
                        if steps.is_empty() =>
                    {
                        resolve(Some((root, vec![Step::Name(name.inner().to_owned())])), How::Has)
                    }
                    _ => Ok(None),
                },
                _ => Ok(None),
            },
            _ => resolve(self.chain(expression), How::Value),
        }
    }

    /// The name that an expression begins with, if no loop has given it, and the steps from it on, if it is nothing but steps.
    fn chain<'e>(&self, expression: &'e Expression) -> Option<(&'e str, Vec<Step>)> {
        match &expression.expr {
            Expr::Ident(name) if name.starts_with(['.', '@']) || self.bound.contains(name) || TYPES.contains(&name.as_str()) => None,
            Expr::Ident(name) => Some((name, Vec::new())),
            Expr::Select(select) if !select.test => {
                let (root, mut steps) = self.chain(&select.operand)?;
                steps.push(Step::Name(select.field.clone()));
                Some((root, steps))
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [of, index] = call.args.as_slice() else { return None };
                let step = match &index.expr {
                    Expr::Literal(LiteralValue::String(name)) => Step::Name(name.inner().to_owned()),
                    Expr::Literal(LiteralValue::Int(index)) => Step::Index(u64::try_from(*index.inner()).ok()?),
                    _ => return None,
                };
                let (root, mut steps) = self.chain(of)?;
                steps.push(step);
                Some((root, steps))
            }
            _ => None,
        }
    }
}

/// How many names stand in an expression. A loop counts as one.
fn names(expression: &Expression) -> usize {
    let mut count = usize::from(matches!(expression.expr, Expr::Ident(_) | Expr::Comprehension(_)));
    if count == 0 {
        toll::within(expression, &mut |inner| count += names(inner));
    }
    count
}

fn no_messages() -> BuildError {
    BuildError::new("there are no messages in a condition", "write a map: `{\"name\": value}`")
}
