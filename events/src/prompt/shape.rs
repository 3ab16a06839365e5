//! How deep a template's syntax tree is, read off its tokens before it is parsed: parsing, measuring, compiling and dropping
//! such a tree all recurse, and the parser itself has no bound for most of what can nest or be chained.
//!
//! Every node of the tree stands for at least one token that is counted here: an operator, a dot, a filter, an opening bracket,
//! a statement with an end, an `elif`. So what is counted is never less than the depth of the tree.

use minijinja::machinery::{Span, Token, tokenize};

/// How deep a template may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Operators, filters and brackets on the way from an expression to its innermost part.
    pub(super) links: usize,
    /// Statements around one another, each `elif` being in the `if` before it.
    pub(super) blocks: usize,
}

/// Of any template. The threads on which templates are parsed have room for some ten times as much.
pub(super) const LIMITS: Limits = Limits { links: 200, blocks: 100 };
/// Of one that only names variables.
pub(super) const LIGHT: Limits = Limits { links: 16, blocks: 0 };

/// A template that is too deep: on which line, and what of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deep {
    pub(super) line: usize,
    pub(super) what: String,
}

/// Whether `content` is no deeper than `limits`, as far as it has tokens: what comes after is the parser's to refuse.
pub(super) fn check(content: &str, limits: Limits) -> Result<(), Deep> {
    let mut shape = Shape { limits, blocks: Vec::new(), levels: vec![Level::default()], opens: false, sets: false };
    let mut first = false;
    for token in tokenize(content, false, <_>::default()) {
        let Ok((token, span)) = token else { return Ok(()) };
        match &token {
            Token::BlockStart => {
                shape.tag();
                first = true;
                continue;
            }
            Token::VariableStart => shape.tag(),
            Token::BlockEnd => shape.end_of_statement(span)?,
            Token::Ident(keyword) if first => shape.statement(keyword, span)?,
            _ => shape.token(&token, span)?,
        }
        first = false;
    }
    Ok(())
}

struct Shape {
    limits: Limits,
    /// Of each statement that is open, how many stand for it: itself, and its `elif`s.
    blocks: Vec<usize>,
    /// The brackets that are open in a tag, outermost first.
    levels: Vec<Level>,
    /// The statement that is read has an end of its own.
    opens: bool,
    /// It is a `set`.
    sets: bool,
}

/// What stands within one pair of brackets.
#[derive(Default)]
struct Level {
    /// Links since the last comma.
    links: usize,
    /// The depth of the deepest brackets since then.
    inner: usize,
    /// The depth of the deepest part before it.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.before.max(self.links + self.inner)
    }
}

impl Shape {
    fn tag(&mut self) {
        self.levels.clear();
        self.levels.push(Level::default());
        (self.opens, self.sets) = (false, false);
    }

    fn statement(&mut self, keyword: &str, span: Span) -> Result<(), Deep> {
        match keyword {
            "elif" => {
                if let Some(block) = self.blocks.last_mut() {
                    *block += 1;
                }
                self.bounded_blocks(span)
            }
            // The parser takes it for the end of what is open, or refuses it.
            end if end.starts_with("end") => {
                self.blocks.pop();
                Ok(())
            }
            "else" | "do" | "include" | "import" | "from" | "extends" | "break" | "continue" => Ok(()),
            // A `set` without `=` has an end, too. Whatever else there may be is refused, or has one.
            _ => {
                (self.opens, self.sets) = (true, keyword == "set");
                Ok(())
            }
        }
    }

    fn end_of_statement(&mut self, span: Span) -> Result<(), Deep> {
        if std::mem::take(&mut self.opens) {
            self.blocks.push(1);
        }
        self.bounded_blocks(span)
    }

    fn token(&mut self, token: &Token<'_>, span: Span) -> Result<(), Deep> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                level.links += 1;
                self.levels.push(Level::default());
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                let depth = level.depth();
                // One that closes nothing is refused by the parser.
                if self.levels.len() > 1 {
                    self.levels.pop();
                }
                if let Some(outer) = self.levels.last_mut() {
                    outer.inner = outer.inner.max(depth);
                }
            }
            Token::Comma | Token::Colon => {
                *level = Level { before: level.depth(), ..Level::default() };
            }
            // `{% set a = b %}` has no end.
            Token::Assign => self.opens &= !(self.sets && self.levels.len() == 1),
            Token::Ident("not" | "and" | "or" | "if" | "else" | "is" | "in")
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::FloorDiv
            | Token::Pow
            | Token::Mod
            | Token::Dot
            | Token::Tilde
            | Token::Pipe
            | Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte => level.links += 1,
            _ => return Ok(()),
        }
        let around: usize = self.levels.iter().map(|level| level.links).sum();
        let inner = self.levels.last().map_or(0, |level| level.inner);
        if around + inner > self.limits.links {
            let what = format!(
                "an expression of more than {} operators, filters and brackets in a row or in one another",
                self.limits.links
            );
            return Err(Deep { line: usize::from(span.start_line), what });
        }
        Ok(())
    }

    fn bounded_blocks(&self, span: Span) -> Result<(), Deep> {
        if self.blocks.iter().sum::<usize>() <= self.limits.blocks {
            return Ok(());
        }
        let what = format!("more than {} statements in one another, or `elif`s of one `if`", self.limits.blocks);
        Err(Deep { line: usize::from(span.start_line), what })
    }
}
