//! The PromQL that scaling objects use, read into a [`Query`] and written from one.

use forebay_core::time::Span;

use super::super::keys::{parse_span, print_span};
use super::super::query::{Aggregate, Operator, Query};
use super::super::series::{Family, Series};

/// A query that cannot be mapped: what, and what could be.
pub(crate) type Unmapped = String;

/// Deepest nesting accepted; real queries have a handful of levels.
const DEPTH_MAX: usize = 32;

/// Reads a query. Label selectors and `by (...)` are dropped: one simulated fleet is all there is
/// to select from.
pub(crate) fn parse(text: &str) -> Result<Query, Unmapped> {
    let mut parser = Parser { tokens: tokenize(text)?, next: 0, depth: 0 };
    let query = parser.alternatives()?.query()?;
    match parser.peek() {
        None => Ok(query),
        Some(token) => Err(format!("`{token}` is not understood")),
    }
}

/// What can be mapped, for error messages.
pub(crate) fn mappable() -> String {
    let series: Vec<&str> = Series::names().collect();
    let histograms: Vec<&str> = Family::names().collect();
    format!(
        "sum, avg, max, min, rate, increase, clamp_min, clamp_max, + - * / and `or vector(0)` of \
         the series {}; histogram_quantile of {}",
        series.join(", "),
        histograms.join(", ")
    )
}

/// Writes a query as PromQL; `None` for what PromQL cannot say in one expression.
pub(crate) fn print(query: &Query) -> Option<String> {
    Some(match query {
        Query::Number(number) => number.to_string(),
        Query::Read { series, aggregate, window } => {
            let aggregate = match aggregate {
                Aggregate::Sum => "sum",
                Aggregate::Average => "avg",
                Aggregate::Max => "max",
                Aggregate::Min => "min",
            };
            match window {
                None => format!("{aggregate}({})", series.name()),
                Some(window) => {
                    format!("{aggregate}(rate({}[{}]))", series.name(), print_span(*window))
                }
            }
        }
        Query::Quantile { family, quantile, window } => format!(
            "histogram_quantile({quantile}, sum by (le) (rate({}_bucket[{}])))",
            family.name(),
            print_span(*window)
        ),
        Query::OrZero(query) => format!("({}) or vector(0)", print(query)?),
        Query::Combine { operator, left, right } => {
            let (left, right) = (print(left)?, print(right)?);
            match operator {
                Operator::Add => format!("({left} + {right})"),
                Operator::Subtract => format!("({left} - {right})"),
                Operator::Multiply => format!("({left} * {right})"),
                Operator::Divide => format!("({left} / {right})"),
                Operator::Max | Operator::Min => return None,
            }
        }
    })
}

/// What an expression stands for while it is read.
enum Value {
    Query(Query),
    /// The rate of a histogram's buckets, which only `histogram_quantile` takes.
    Buckets(Family, Span),
}

impl Value {
    fn query(self) -> Result<Query, Unmapped> {
        match self {
            Self::Query(query) => Ok(query),
            Self::Buckets(family, _) => {
                Err(format!("the buckets of {} outside histogram_quantile", family.name()))
            }
        }
    }
}

struct Parser {
    tokens: Vec<String>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.next).map(String::as_str)
    }

    fn take(&mut self) -> Option<String> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), Unmapped> {
        if self.eat(token) {
            return Ok(());
        }
        let found = self.peek().unwrap_or("the end").to_owned();
        Err(format!("`{token}` expected where {found} stands"))
    }

    fn alternatives(&mut self) -> Result<Value, Unmapped> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let mut value = self.sums()?;
        while self.eat("or") {
            match self.sums()?.query()? {
                Query::Number(0.0) => {
                    value = Value::Query(Query::OrZero(Box::new(value.query()?)));
                }
                _ => return Err("`or` with anything but vector(0)".to_owned()),
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    fn sums(&mut self) -> Result<Value, Unmapped> {
        let mut left = self.products()?;
        loop {
            let operator = match self.peek() {
                Some("+") => Operator::Add,
                Some("-") => Operator::Subtract,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.products()?.query()?;
            left = Value::Query(Query::combine(operator, left.query()?, right));
        }
    }

    fn products(&mut self) -> Result<Value, Unmapped> {
        let mut left = self.primary()?;
        loop {
            let operator = match self.peek() {
                Some("*") => Operator::Multiply,
                Some("/") => Operator::Divide,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.primary()?.query()?;
            left = Value::Query(Query::combine(operator, left.query()?, right));
        }
    }

    fn primary(&mut self) -> Result<Value, Unmapped> {
        let token = self.take().ok_or("it ends too early")?;
        if token == "(" {
            let inside = self.alternatives()?;
            self.expect(")")?;
            return Ok(inside);
        }
        if let Ok(number) = token.parse::<f64>() {
            return Ok(Value::Query(Query::Number(number)));
        }
        match token.as_str() {
            "sum" => self.aggregate(Aggregate::Sum),
            "avg" => self.aggregate(Aggregate::Average),
            "max" => self.aggregate(Aggregate::Max),
            "min" => self.aggregate(Aggregate::Min),
            "rate" | "irate" => self.rate(false),
            "increase" => self.rate(true),
            "scalar" | "vector" => {
                self.expect("(")?;
                let inside = self.alternatives()?;
                self.expect(")")?;
                Ok(inside)
            }
            "clamp_min" => self.clamp(Operator::Max),
            "clamp_max" => self.clamp(Operator::Min),
            "histogram_quantile" => self.quantile(),
            name => self.series(name),
        }
    }

    fn aggregate(&mut self, aggregate: Aggregate) -> Result<Value, Unmapped> {
        self.grouping()?;
        self.expect("(")?;
        let inside = self.alternatives()?;
        self.expect(")")?;
        self.grouping()?;
        match inside {
            Value::Buckets(..) => Ok(inside),
            Value::Query(query) => Ok(Value::Query(spread(query, aggregate)?)),
        }
    }

    /// `by (le)`, `without (pod)`.
    fn grouping(&mut self) -> Result<(), Unmapped> {
        if self.eat("by") || self.eat("without") {
            self.expect("(")?;
            while !self.eat(")") {
                self.take().ok_or("a list of labels does not end")?;
            }
        }
        Ok(())
    }

    fn rate(&mut self, increase: bool) -> Result<Value, Unmapped> {
        self.expect("(")?;
        let name = self.take().ok_or("it ends too early")?;
        self.selector()?;
        self.expect("[")?;
        let window = self.take().and_then(|text| parse_span(&text));
        let window = window.ok_or_else(|| format!("the range of {name}"))?;
        self.expect("]")?;
        self.expect(")")?;
        if name.ends_with("_bucket") {
            let family = Family::find(&name).ok_or_else(|| format!("unknown series {name}"))?;
            return Ok(Value::Buckets(family, window));
        }
        let series = Series::find(&name).ok_or_else(|| format!("unknown series {name}"))?;
        if !series.is_counter() {
            return Err(format!("the rate of {name}, which is a gauge"));
        }
        let rate = Query::rate(series, window);
        Ok(Value::Query(if increase {
            Query::combine(Operator::Multiply, rate, Query::Number(window.as_seconds()))
        } else {
            rate
        }))
    }

    fn clamp(&mut self, operator: Operator) -> Result<Value, Unmapped> {
        self.expect("(")?;
        let left = self.alternatives()?.query()?;
        self.expect(",")?;
        let right = self.alternatives()?.query()?;
        self.expect(")")?;
        Ok(Value::Query(Query::combine(operator, left, right)))
    }

    fn quantile(&mut self) -> Result<Value, Unmapped> {
        self.expect("(")?;
        let quantile = self.take().and_then(|text| text.parse::<f64>().ok());
        let quantile = quantile.ok_or("the quantile of histogram_quantile")?;
        self.expect(",")?;
        let Value::Buckets(family, window) = self.alternatives()? else {
            return Err("histogram_quantile of something else than rates of buckets".to_owned());
        };
        self.expect(")")?;
        Ok(Value::Query(Query::Quantile { family, quantile, window }))
    }

    fn series(&mut self, name: &str) -> Result<Value, Unmapped> {
        if self.peek() == Some("(") {
            return Err(format!("function {name}"));
        }
        let series = Series::find(name).ok_or_else(|| format!("unknown series {name}"))?;
        self.selector()?;
        if series.is_counter() {
            return Err(format!("{name} is a counter and needs rate(...[1m])"));
        }
        Ok(Value::Query(Query::gauge(series)))
    }

    /// `{model_name="x"}`, already one token.
    fn selector(&mut self) -> Result<(), Unmapped> {
        if self.peek().is_some_and(|token| token.starts_with('{')) {
            self.next += 1;
        }
        Ok(())
    }
}

/// An aggregate of an expression over the same pods: of each of its series.
fn spread(query: Query, aggregate: Aggregate) -> Result<Query, Unmapped> {
    Ok(match query {
        Query::Read { series, window, .. } => Query::Read { series, aggregate, window },
        Query::Combine { operator, left, right } => {
            let plain = matches!(operator, Operator::Add | Operator::Subtract);
            let scaled = matches!(*right, Query::Number(_))
                && matches!(operator, Operator::Multiply | Operator::Divide);
            match (plain && aggregate == Aggregate::Sum, scaled) {
                (true, _) => {
                    Query::combine(operator, spread(*left, aggregate)?, spread(*right, aggregate)?)
                }
                (_, true) => Query::combine(operator, spread(*left, aggregate)?, *right),
                _ => return Err("an aggregate of a combination of series".to_owned()),
            }
        }
        other => other,
    })
}

fn tokenize(text: &str) -> Result<Vec<String>, Unmapped> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |letter: char| letter.is_ascii_alphanumeric() || "_:.".contains(letter);
        let length = if first == '{' {
            selector_length(rest).ok_or("a label selector does not end")?
        } else if word(first) {
            rest.find(|letter| !word(letter)).unwrap_or(rest.len())
        } else if "()[],+-*/".contains(first) {
            1
        } else {
            return Err(format!("`{first}`"));
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Bytes up to the brace that closes a selector, quoted braces aside.
fn selector_length(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(index + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reprint(text: &str) -> String {
        let query = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let printed = print(&query).unwrap();
        assert_eq!(parse(&printed), Ok(query), "{printed}");
        printed
    }

    #[test]
    fn the_queries_of_the_guides_are_understood() {
        let queue = r#"sum(llm_d_epp_flow_control_queue_size{namespace="${NS}",model_name="a}b"})"#;
        assert_eq!(reprint(queue), "sum(llm_d_epp_flow_control_queue_size)");
        let backlog =
            "(\n sum(llm_d_epp_inflight_tokens{producer_name=\"x\"}) / 15928\n) or vector(0)";
        assert_eq!(reprint(backlog), "((sum(llm_d_epp_inflight_tokens) / 15928)) or vector(0)");
        let both = "sum(vllm:num_requests_running + vllm:num_requests_waiting)";
        assert_eq!(
            reprint(both),
            "(sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting))"
        );
        assert_eq!(
            reprint("sum by (model_name) (rate(vllm:prompt_tokens_total[1m]))"),
            "sum(rate(vllm:prompt_tokens_total[60s]))"
        );
        assert_eq!(
            reprint(
                "histogram_quantile(0.9, sum(rate(vllm:time_to_first_token_seconds_bucket[2m])) by (le)) * 1000"
            ),
            "(histogram_quantile(0.9, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[120s]))) * 1000)"
        );
        assert_eq!(reprint("avg(vllm_kv_cache_usage_perc)"), "avg(vllm:kv_cache_usage_perc)");
    }

    #[test]
    fn what_cannot_be_mapped_is_named() {
        assert_eq!(parse("sum(up)"), Err("unknown series up".to_owned()));
        assert_eq!(
            parse("sum(vllm:prompt_tokens_total)"),
            Err("vllm:prompt_tokens_total is a counter and needs rate(...[1m])".to_owned())
        );
        assert_eq!(parse("deriv(up[1m])"), Err("function deriv".to_owned()));
        assert_eq!(parse("sum(vllm:num_requests_running) > 3"), Err("`>`".to_owned()));
        assert!(parse(&"(".repeat(100)).is_err());
        assert!(mappable().contains("vllm:num_requests_running"));
    }
}
