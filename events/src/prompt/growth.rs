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

use super::filters;

/// What a template can make of what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    /// How many times as large as the template and its variables anything in it can be.
    pub(super) factor: u64,
    /// A single step, apart from filters, can take time in proportion to them.
    pub(super) heavy: bool,
    /// Texts can be taken apart into values, each of which takes 24 bytes.
    pub(super) apart: bool,
}

impl Growth {
    /// The most bytes that anything can come to, for a template and variables of `weight` bytes.
    pub(super) fn bytes(self, weight: usize) -> u64 {
        let weight = u64::try_from(weight).unwrap_or(u64::MAX);
        weight.saturating_mul(if self.apart { 24 } else { 1 }).saturating_mul(self.factor)
    }
}

/// A template that does not parse, or has what is not available: on which line, and why.
#[derive(Debug)]
pub(super) enum Unmeasured {
    Syntax(minijinja::Error),
    Unavailable { line: usize, what: String },
}

pub(super) fn measure(content: &str) -> Result<Growth, Unmeasured> {
    let template = parse(content, "prompt", <_>::default()).map_err(Unmeasured::Syntax)?;
    let mut measure = Measure { bound: 1, widest: 1, ..Measure::default() };
    measure.statement(&template)?;
    // A name that is set in a loop keeps its value in the next turn.
    for (span, read) in &measure.grown {
        if read.iter().any(|name| measure.carried.contains(name)) {
            return unavailable(*span, "a `set` that makes something longer with each turn of a loop");
        }
    }
    Ok(Growth {
        factor: measure.bound.saturating_mul(measure.widest),
        heavy: measure.heavy > OFTEN,
        apart: measure.apart,
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
                self.binding(&each.iter)?;
                if let Some(filter) = &each.filter_expr {
                    self.passing(filter)?;
                }
                self.loops += 1;
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
                let grows = self.binding(&set.expr)? > 1;
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
        let factor = self.expression(expression)?;
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
            Expr::GetItem(get) => self.most([&get.expr, &get.subscript_expr])?,
            Expr::Slice(slice) => {
                self.goes_over();
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
        Ok(self.sum(items.into_iter().filter(|item| !matches!(item, Expr::Const(_))))?.saturating_add(1))
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
        BinOpKind::In => !written(right),
        _ => false,
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
