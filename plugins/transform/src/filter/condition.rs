//! A condition as it is written, and as it is meant.

use api::SpecError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::literal::Literal;

/// A condition: exactly one of `all`, `any`, `not`, or `column` with exactly one comparison.
///
/// One struct with optional fields, and not an enum: an error then names the field that is wrong, and an editor offers
/// the fields there are.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// True if every one of these is.
    pub all: Option<Vec<Condition>>,
    /// True if one of these is.
    pub any: Option<Vec<Condition>>,
    /// True if this is false.
    pub not: Option<Box<Condition>>,
    /// The column that is compared.
    pub column: Option<String>,
    /// Equal to.
    pub eq: Option<Literal>,
    /// Not equal to.
    pub ne: Option<Literal>,
    /// Less than.
    pub lt: Option<Literal>,
    /// Less than or equal to.
    pub le: Option<Literal>,
    /// Greater than.
    pub gt: Option<Literal>,
    /// Greater than or equal to.
    pub ge: Option<Literal>,
    /// Equal to one of.
    #[serde(rename = "in")]
    pub one_of: Option<Vec<Literal>>,
    /// `true`: is null; `false`: is not null.
    pub is_null: Option<bool>,
}

/// A condition that means something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare {
        column: String,
        comparison: Comparison,
        value: Literal,
    },
    In {
        column: String,
        values: Vec<Literal>,
    },
    IsNull {
        column: String,
        is_null: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Comparison::Eq => "eq",
            Comparison::Ne => "ne",
            Comparison::Lt => "lt",
            Comparison::Le => "le",
            Comparison::Gt => "gt",
            Comparison::Ge => "ge",
        }
    }

    /// Whether it asks for more than sameness.
    pub(crate) const fn is_ordering(self) -> bool {
        !matches!(self, Comparison::Eq | Comparison::Ne)
    }
}

impl Condition {
    /// What it means, or where it means nothing. `at` is its place in the spec.
    pub(crate) fn check(self, at: &str) -> Result<Expression, SpecError> {
        let Condition {
            all, any, not, column, ..
        } = &self;
        let kinds = [all.is_some(), any.is_some(), not.is_some(), column.is_some()];
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            return Err(SpecError::at(
                at,
                "cannot read a condition without exactly one of `all`, `any`, `not`, `column`",
            )
            .hint("write `{column: amount, ge: 10}`, or `{all: [...]}` to join several"));
        }
        let comparisons = self.comparisons();
        if column.is_none() && comparisons > 0 {
            return Err(SpecError::at(at, "cannot compare without a `column`").hint("add `column`"));
        }
        if column.is_some() && comparisons != 1 {
            let message = format!("cannot read a comparison with {comparisons} tests: one is needed");
            return Err(SpecError::at(at, message)
                .hint("write one of `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `in`, `is_null`; join several with `all`"));
        }
        match self {
            Condition { all: Some(all), .. } => Ok(Expression::All(check_each(all, at, "all")?)),
            Condition { any: Some(any), .. } => Ok(Expression::Any(check_each(any, at, "any")?)),
            Condition { not: Some(not), .. } => Ok(Expression::Not(Box::new(not.check(&format!("{at}/not"))?))),
            leaf => leaf.check_leaf(at),
        }
    }

    fn comparisons(&self) -> usize {
        let ordered = [&self.eq, &self.ne, &self.lt, &self.le, &self.gt, &self.ge];
        let ordered = ordered.into_iter().filter(|value| value.is_some()).count();
        ordered + usize::from(self.one_of.is_some()) + usize::from(self.is_null.is_some())
    }

    fn check_leaf(self, at: &str) -> Result<Expression, SpecError> {
        let column = self.column.unwrap_or_default();
        if let Some(is_null) = self.is_null {
            return Ok(Expression::IsNull { column, is_null });
        }
        if let Some(values) = self.one_of {
            if values.is_empty() {
                return Err(
                    SpecError::at(format!("{at}/in"), "cannot look for a value in an empty list")
                        .hint("list the values, or remove the rule"),
                );
            }
            return Ok(Expression::In { column, values });
        }
        let written = [
            (Comparison::Eq, self.eq),
            (Comparison::Ne, self.ne),
            (Comparison::Lt, self.lt),
            (Comparison::Le, self.le),
            (Comparison::Gt, self.gt),
            (Comparison::Ge, self.ge),
        ];
        let found = written
            .into_iter()
            .find_map(|(comparison, value)| Some((comparison, value?)));
        let Some((comparison, value)) = found else {
            return Err(SpecError::at(
                at,
                "cannot read a comparison with 0 tests: one is needed",
            ));
        };
        Ok(Expression::Compare {
            column,
            comparison,
            value,
        })
    }
}

fn check_each(conditions: Vec<Condition>, at: &str, list: &str) -> Result<Vec<Expression>, SpecError> {
    if conditions.is_empty() {
        return Err(SpecError::at(
            format!("{at}/{list}"),
            format!("cannot join no conditions with `{list}`"),
        ));
    }
    let check = |(place, condition): (usize, Condition)| condition.check(&format!("{at}/{list}/{place}"));
    conditions.into_iter().enumerate().map(check).collect()
}
