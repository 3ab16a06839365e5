//! How large a template can make things: minijinja's fuel bounds steps, not bytes, and a dozen steps can double a text a
//! dozen times. So the parsed template is measured before it is compiled (compiling already computes constants).
//!
//! Values grow in few ways: `~` and `+` of texts, lists written in the template, and a handful of filters, each by a
//! factor that can be read off it. Factors multiply along what is bound to names; elsewhere they end with their
//! expression. What cannot be bounded this way is not available, and says so.

use std::collections::HashSet;

use minijinja::{
    machinery::{
        Span,
        ast::{BinOpKind, CallArg, Expr, Stmt},
        parse,
    },
    value::{Value, ValueKind},
};

use super::{
    filters,
    shape::{self, Deep},
};

/// What a template can make of what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    /// How many times as large as the template and its variables anything in it can be.
    pub(super) factor: u64,
    /// A single step, apart from filters, can take time in proportion to them.
    pub(super) heavy: bool,
    /// Texts can be taken apart into values, each of which takes 24 bytes.
    pub(super) apart: bool,
    /// Ranges are more than gone through by a loop: a number as short as that can stand for a list as long as a range may be.
    pub(super) ranged: bool,
    /// How many values are written out in lists.
    pub(super) written: u64,
}

impl Growth {
    /// The most bytes that anything can come to, for a template and variables of `weight` bytes.
    pub(super) fn bytes(self, weight: usize) -> u64 {
        let weight = u64::try_from(weight).unwrap_or(u64::MAX);
        weight.saturating_mul(if self.apart { 24 } else { 1 }).saturating_mul(self.factor)
    }
}

/// A template that is too deep, does not parse, or has what is not available: on which line, and why.
#[derive(Debug)]
pub(super) enum Unmeasured {
    Deep(Deep),
    Syntax(minijinja::Error),
    Unavailable { line: usize, what: String },
}

pub(super) fn measure(content: &str) -> Result<Growth, Unmeasured> {
    shape::check(content, shape::LIMITS).map_err(Unmeasured::Deep)?;
    let template = parse(content, "prompt", <_>::default()).map_err(Unmeasured::Syntax)?;
    let mut measure = Measure { bound: 1, widest: 1, ..Measure::default() };
    measure.statement(&template)?;
    // A name that is set in a loop keeps its value in the next turn.
    for (span, read) in &measure.grown {
        if read.iter().any(|name| measure.carried.contains(name)) {
            return unavailable(*span, "a `set` that makes something longer with each turn of a loop");
        }
    }
    if measure.wrapped > WRAPPED {
        return Err(Unmeasured::Deep(Deep {
            line: 1,
            what: format!("more than {WRAPPED} slices that are given a name"),
        }));
    }
    Ok(Growth {
        factor: measure.bound.saturating_mul(measure.widest),
        // An item of what is no list but a view of one, or a range, is found by going through it.
        heavy: measure.heavy > OFTEN || (measure.indexed > 0 && (measure.views > 0 || measure.ranged)),
        apart: measure.apart,
        ranged: measure.ranged,
        written: measure.written,
    })
}

#[derive(Default)]
struct Measure<'a> {
    /// The factors of all expressions that are bound to a name, together.
    bound: u64,
    /// The factor of the one other expression that has most.
    widest: u64,
    /// Expressions that go over all of their operands: those in loops count many times.
    heavy: usize,
    apart: bool,
    ranged: bool,
    written: u64,
    /// Slices of lists that are bound to a name: each may be a view of the one before.
    wrapped: usize,
    /// How often items are taken by their place in loops.
    indexed: usize,
    /// How many slices there are, and sums of what may be lists.
    views: usize,
    /// Slices in the expression that is being measured.
    slices: usize,
    /// How many loops we are in.
    loops: usize,
    /// Names that are set in loops.
    carried: HashSet<&'a str>,
    /// Expressions that are set in loops and grow, with the names that they read.
    grown: Vec<(Span, Vec<&'a str>)>,
    /// The names that the expression reads which is being measured.
    read: Vec<&'a str>,
}

/// How often an expression may stand in a template that goes over all of its operands.
const OFTEN: usize = 100;
/// How many slices may be bound to names. A slice of a list is a view of it, and a view of a view is deeper by one.
const WRAPPED: usize = 200;
/// The most values in a list that is written out where one is looked for, for it to count as short.
const SHORT: usize = 32;

type Factor = Result<u64, Unmeasured>;

fn unavailable<T>(span: Span, what: impl Into<String>) -> Result<T, Unmeasured> {
    Err(Unmeasured::Unavailable { line: span.start_line as usize, what: what.into() })
}

impl<'a> Measure<'a> {
    fn body(&mut self, statements: &[Stmt<'a>]) -> Result<(), Unmeasured> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Result<(), Unmeasured> {
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::EmitExpr(emit) => self.passing(&emit.expr),
            Stmt::IfCond(cond) => {
                self.passing(&cond.expr)?;
                self.body(&cond.true_body)?;
                self.body(&cond.false_body)
            }
            Stmt::ForLoop(each) => {
                if each.recursive {
                    return unavailable(each.span(), "a recursive loop");
                }
                // A loop that goes through a range takes a step for each number.
                match range_of(&each.iter) {
                    Some(bounds) => bounds.iter().map(value_of).try_for_each(|bound| self.passing(bound))?,
                    None => drop(self.binding(&each.iter)?),
                }
                self.loops += 1;
                if let Some(filter) = &each.filter_expr {
                    self.passing(filter)?;
                }
                self.body(&each.body)?;
                self.loops -= 1;
                self.body(&each.else_body)
            }
            Stmt::WithBlock(with) => {
                with.assignments.iter().try_for_each(|(_, value)| self.binding(value).map(drop))?;
                self.body(&with.body)
            }
            Stmt::Set(set) => {
                self.read.clear();
                let wrapped = self.wrapped;
                let grows = self.binding(&set.expr)? > 1 || self.wrapped > wrapped;
                if self.loops > 0 {
                    if grows {
                        self.grown.push((set.span(), self.read.clone()));
                    }
                    self.read.clear();
                    self.expression(&set.target)?;
                    self.carried.extend(&self.read);
                }
                Ok(())
            }
            Stmt::SetBlock(set) => unavailable(set.span(), "a `set` block"),
            Stmt::FilterBlock(block) => unavailable(block.span(), "a `filter` block"),
            Stmt::AutoEscape(block) => unavailable(block.span(), "an `autoescape` block"),
            Stmt::Do(call) => unavailable(call.span(), "a `do` statement"),
            #[allow(unreachable_patterns, reason = "macros and includes are there if another crate turns them on")]
            _ => Err(Unmeasured::Unavailable { line: 1, what: "a macro, block or include".to_owned() }),
        }
    }

    fn binding(&mut self, expression: &Expr<'a>) -> Factor {
        self.slices = 0;
        let factor = self.expression(expression)?;
        self.wrapped += self.slices;
        self.bound = self.bound.saturating_mul(factor);
        Ok(factor)
    }

    fn passing(&mut self, expression: &Expr<'a>) -> Result<(), Unmeasured> {
        self.widest = self.widest.max(self.expression(expression)?);
        Ok(())
    }

    fn expression(&mut self, expression: &Expr<'a>) -> Factor {
        Ok(match expression {
            Expr::Var(var) => {
                self.read.push(var.id);
                1
            }
            Expr::Const(_) => 1,
            Expr::GetAttr(get) => self.expression(&get.expr)?,
            Expr::GetItem(get) => {
                self.indexed += self.loops;
                self.most([&get.expr, &get.subscript_expr])?
            }
            Expr::Slice(slice) => {
                self.goes_over();
                self.slices += 1;
                self.views += 1;
                let bounds = [&slice.start, &slice.stop, &slice.step].into_iter().flatten();
                self.most(std::iter::once(&slice.expr).chain(bounds))?
            }
            Expr::UnaryOp(unary) => self.expression(&unary.expr)?,
            Expr::BinOp(binary) => match binary.op {
                // A number and anything but a number is an error.
                BinOpKind::Add if is_number(&binary.left) || is_number(&binary.right) => {
                    self.most([&binary.left, &binary.right])?
                }
                BinOpKind::Add | BinOpKind::Concat => {
                    self.views += usize::from(matches!(binary.op, BinOpKind::Add));
                    self.goes_over();
                    self.sum([&binary.left, &binary.right])?
                }
                BinOpKind::Mul if !is_number(&binary.left) || !is_number(&binary.right) => {
                    return unavailable(binary.span(), "`*` of what may be no number (write `name|float * 2`)");
                }
                op => {
                    if goes_over(op, &binary.left, &binary.right) {
                        self.goes_over();
                    }
                    self.most([&binary.left, &binary.right])?
                }
            },
            Expr::Compare(compare) => {
                self.goes_over();
                self.most(std::iter::once(&compare.expr).chain(compare.ops.iter().map(|op| &op.expr)))?
            }
            Expr::IfExpr(choice) => {
                self.most([&choice.test_expr, &choice.true_expr].into_iter().chain(&choice.false_expr))?
            }
            Expr::Filter(filter) => {
                self.apart |= filters::APART.contains(&filter.name);
                let given = self.most(filter.expr.iter().chain(filter.args.iter().map(value_of)))?;
                match filter_factor(filter.name, &filter.args) {
                    Ok(factor) => given.saturating_mul(factor),
                    Err(what) => return unavailable(filter.span(), what),
                }
            }
            Expr::Test(test) => {
                if !test.args.is_empty() {
                    self.goes_over();
                }
                self.most(std::iter::once(&test.expr).chain(test.args.iter().map(value_of)))?
            }
            Expr::Call(call) => {
                self.apart = true;
                match &call.expr {
                    Expr::Var(var) if var.id == "range" => self.ranged = true,
                    _ => self.goes_over(),
                }
                let arguments = self.list(call.args.iter().map(value_of))?;
                arguments.saturating_mul(self.expression(&call.expr)?)
            }
            Expr::List(list) => self.list(&list.items)?,
            Expr::Tuple(tuple) => self.list(&tuple.items)?,
            Expr::Map(map) => self.list(map.keys.iter().chain(&map.values))?,
        })
    }

    fn most<'b>(&mut self, parts: impl IntoIterator<Item = &'b Expr<'a>>) -> Factor
    where
        'a: 'b,
    {
        parts.into_iter().try_fold(1, |most: u64, part| Ok(most.max(self.expression(part)?)))
    }

    fn sum<'b>(&mut self, parts: impl IntoIterator<Item = &'b Expr<'a>>) -> Factor
    where
        'a: 'b,
    {
        parts.into_iter().try_fold(0, |sum: u64, part| Ok(sum.saturating_add(self.expression(part)?)))
    }

    /// A list: one more than what is in it, because lists in lists must not become deep either. What is written out in the
    /// template is part of its weight.
    fn list<'b>(&mut self, items: impl IntoIterator<Item = &'b Expr<'a>>) -> Factor
    where
        'a: 'b,
    {
        let items = items.into_iter().inspect(|_| self.written += 1);
        let items: Vec<_> = items.filter(|item| !matches!(item, Expr::Const(_))).collect();
        Ok(self.sum(items)?.saturating_add(1))
    }

    /// An expression goes over all of its operands: how often, nobody knows in a loop.
    fn goes_over(&mut self) {
        self.heavy += if self.loops > 0 { OFTEN + 1 } else { 1 };
    }
}

/// Whether a comparison may have to look at all of its operands: with something written out it need not.
fn goes_over(op: BinOpKind, left: &Expr<'_>, right: &Expr<'_>) -> bool {
    let written = |expr: &Expr<'_>| matches!(expr, Expr::Const(_));
    match op {
        BinOpKind::Eq | BinOpKind::Ne | BinOpKind::Lt | BinOpKind::Lte | BinOpKind::Gt | BinOpKind::Gte => {
            !written(left) && !written(right)
        }
        BinOpKind::In => !written(right) && !is_short_list(right),
        _ => false,
    }
}

/// Whether it is a list of a few values, all written out.
fn is_short_list(expression: &Expr<'_>) -> bool {
    let items = match expression {
        Expr::List(list) => &list.items,
        Expr::Tuple(tuple) => &tuple.items,
        _ => return false,
    };
    items.len() <= SHORT && items.iter().all(|item| matches!(item, Expr::Const(_)))
}

/// The arguments of a call of `range`.
fn range_of<'a, 'b>(expression: &'a Expr<'b>) -> Option<&'a [CallArg<'b>]> {
    match expression {
        Expr::Call(call) if matches!(&call.expr, Expr::Var(var) if var.id == "range") => Some(&call.args),
        _ => None,
    }
}

fn value_of<'a, 'b>(argument: &'a CallArg<'b>) -> &'a Expr<'b> {
    match argument {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) | CallArg::PosSplat(value) | CallArg::KwargSplat(value) => value,
    }
}

/// Whether it is a number or an error, whatever the variables are.
fn is_number(expression: &Expr<'_>) -> bool {
    match expression {
        Expr::Const(constant) => constant.value.kind() == ValueKind::Number,
        Expr::Filter(filter) => ["int", "float", "round", "abs", "length", "count"].contains(&filter.name),
        Expr::BinOp(binary) => match binary.op {
            BinOpKind::Sub | BinOpKind::Mul | BinOpKind::Div | BinOpKind::FloorDiv => true,
            BinOpKind::Add => is_number(&binary.left) || is_number(&binary.right),
            _ => false,
        },
        _ => false,
    }
}

/// By how much a filter can make what it is given larger; or what of it is not available.
fn filter_factor(name: &str, arguments: &[CallArg<'_>]) -> Result<u64, String> {
    let text = |at: usize| match arguments.get(at).map(value_of) {
        Some(Expr::Const(constant)) => constant.value.as_str().and_then(|text| u64::try_from(text.len()).ok()),
        _ => None,
    };
    match name {
        "join" if arguments.is_empty() => Ok(2),
        "join" => text(0).map(|len| len + 2).ok_or("`join` by anything but a text in quotes".to_owned()),
        "replace" => match (text(0), text(1)) {
            (Some(from), Some(to)) if from > 0 => Ok(to.div_ceil(from).max(1)),
            _ => Err("`replace` of anything but texts in quotes".to_owned()),
        },
        "tojson" => {
            let small = |value: &Value| value.as_usize().is_some_and(|n| n <= 8) || value.kind() == ValueKind::Bool;
            match arguments.first().map(value_of) {
                // `<` becomes `\u003c`.
                None => Ok(6),
                // And on each of 32 levels so many spaces; `true` is 2.
                Some(Expr::Const(constant)) if small(&constant.value) => {
                    Ok(6 + 32 * u64::try_from(constant.value.as_usize().unwrap_or(2).max(1)).unwrap_or(8))
                }
                Some(_) => Err("`tojson` with more than 8 spaces".to_owned()),
            }
        }
        // `&` becomes `&amp;`, and a list of letters is written with quotes and commas.
        "string" | "e" | "escape" => Ok(6),
        "sum" if arguments.iter().any(|a| !matches!(a, CallArg::Kwarg("attribute", _))) => {
            Err("`sum` from anything but 0".to_owned())
        }
        "map" => match arguments.first() {
            Some(CallArg::Kwarg("attribute" | "default", _)) => Ok(1),
            Some(CallArg::Pos(Expr::Const(inner))) if arguments.len() == 1 => match inner.value.as_str() {
                Some(inner) if inner != "map" && filters::NAMES.contains(&inner) => filter_factor(inner, &[]),
                _ => Err("`map` with that filter".to_owned()),
            },
            _ => Err("`map` with that filter".to_owned()),
        },
        // Groups of groups are deeper by one.
        "groupby" => Ok(2),
        name if filters::NAMES.contains(&name) => Ok(1),
        name => Err(format!("the filter `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_only_a_loop_goes_through_is_no_list() {
        for (content, ranged, heavy) in [
            ("{% for i in range(n) %}{{ i }}{% endfor %}", false, false),
            ("{% for i in range(n)|list %}{{ i }}{% endfor %}", true, false),
            ("{% for i in range(n) %}{% if i in range(n) %}{% endif %}{% endfor %}", true, true),
            ("{% for i in items %}{% if i in ['a', 'b'] %}{% endif %}{% endfor %}", false, false),
            ("{% for i in items %}{% if i in ['a', b] %}{% endif %}{% endfor %}", false, true),
            ("{% for i in items if i in a %}{% endfor %}", false, true),
            ("{% for i in items %}{{ i['k'] }}{% endfor %}", false, false),
            ("{% set r = range(n) %}{% for i in items %}{{ r[i] }}{% endfor %}", true, true),
        ] {
            let growth = measure(content).expect("it can be measured");
            assert_eq!((growth.ranged, growth.heavy), (ranged, heavy), "{content}");
        }
    }

    #[test]
    fn views_of_views_are_bounded() {
        let sliced = |times: usize| format!("{{% set t = a %}}{}{{{{ t }}}}", "{% set t = t[1:] %}".repeat(times));
        assert!(measure(&sliced(WRAPPED)).is_ok());
        assert!(matches!(measure(&sliced(WRAPPED + 1)), Err(Unmeasured::Deep(_))));
        let carried = "{% set t = a %}{% for i in range(9) %}{% set t = t[1:] %}{% endfor %}{{ t }}";
        assert!(matches!(measure(carried), Err(Unmeasured::Unavailable { .. })));
    }
}
