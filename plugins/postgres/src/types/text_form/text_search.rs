//! `tsvector` and `tsquery`.
//!
//! Binary `tsvector`: `count i32`, then for each lexeme `text zero-ended, positions u16, position u16 * positions`, where the
//! two upper bits of a position are its weight, D to A.
//! Binary `tsquery`: `count i32`, then the nodes in prefix order with the *right* operand first: `1 u8, weights u8,
//! is_prefix u8, text zero-ended`, or `2 u8, operator u8` and for a phrase `distance i16`.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use crate::types::Misfit;
use crate::types::wire_form::WireForm;

/// Nesting of a query; the server's own stack ends somewhere above.
const DEPTH_MAX: usize = 1_000;

const NOT: u8 = 1;
const AND: u8 = 2;
const OR: u8 = 3;
const PHRASE: u8 = 4;

fn write_lexeme(text: &str, out: &mut String) {
    out.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
}

pub(crate) fn write_vector(bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, "tsvector");
    for i in 0..form.count(3)? {
        if i > 0 {
            out.push(' ');
        }
        write_lexeme(form.zero_ended()?, out);
        for position in 0..form.u16()? {
            out.push(if position == 0 { ':' } else { ',' });
            let packed = form.u16()?;
            let _ = write!(out, "{}", packed & 0x3fff);
            match packed >> 14 {
                3 => out.push('A'),
                2 => out.push('B'),
                1 => out.push('C'),
                _ => {}
            }
        }
    }
    form.end()
}

/// A quoted lexeme at the start of `text`, and what follows it.
fn take_lexeme(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('\'')?;
    let mut lexeme = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if body[at + 1..].starts_with('\'') => {
                chars.next();
                lexeme.push('\'');
            }
            '\'' => return Some((lexeme, &body[at + 1..])),
            '\\' => lexeme.push(chars.next()?.1),
            c => lexeme.push(c),
        }
    }
    None
}

pub(crate) fn vector_to_binary(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let start = out.len();
    out.put_i32(0);
    let count = put_lexemes(text, out).ok_or_else(|| Misfit::malformed("tsvector"))?;
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

fn put_lexemes(text: &str, out: &mut BytesMut) -> Option<i32> {
    let mut count = 0;
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (lexeme, tail) = take_lexeme(rest)?;
        out.put_slice(lexeme.as_bytes());
        out.put_u8(0);
        let (positions, tail) = match tail.strip_prefix(':') {
            Some(tail) => tail.split_at(tail.find(' ').unwrap_or(tail.len())),
            None => ("", tail),
        };
        let positions: Vec<&str> = positions.split(',').filter(|part| !part.is_empty()).collect();
        out.put_u16(u16::try_from(positions.len()).ok()?);
        for position in positions {
            let digits = position.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let weight = match &position[digits.len()..] {
                "A" => 3,
                "B" => 2,
                "C" => 1,
                "" | "D" => 0,
                _ => return None,
            };
            let place: u16 = digits.parse().ok().filter(|place| *place < 1 << 14)?;
            out.put_u16(weight << 14 | place);
        }
        count += 1;
        rest = tail.trim_start_matches(' ');
    }
    Some(count)
}

enum Node {
    Lexeme {
        weights: u8,
        is_prefix: bool,
        text: String,
    },
    Not(Box<Node>),
    Two {
        operator: u8,
        distance: i16,
        left: Box<Node>,
        right: Box<Node>,
    },
}

fn read_node(form: &mut WireForm<'_>, depth: usize) -> Result<Node, Misfit> {
    if depth > DEPTH_MAX {
        return Err(Misfit::new("a query of more than 1000 levels", "`tsquery`"));
    }
    if form.u8()? == 1 {
        let (weights, is_prefix) = (form.u8()?, form.u8()? != 0);
        let text = form.zero_ended()?.to_owned();
        return Ok(Node::Lexeme {
            weights,
            is_prefix,
            text,
        });
    }
    let operator = form.u8()?;
    let distance = if operator == PHRASE { form.i16()? } else { 0 };
    if operator == NOT {
        return Ok(Node::Not(Box::new(read_node(form, depth + 1)?)));
    }
    let right = Box::new(read_node(form, depth + 1)?);
    let left = Box::new(read_node(form, depth + 1)?);
    Ok(Node::Two {
        operator,
        distance,
        left,
        right,
    })
}

/// How tightly an operator binds.
fn priority(operator: u8) -> u8 {
    match operator {
        NOT => 4,
        PHRASE => 3,
        AND => 2,
        _ => 1,
    }
}

fn write_node(node: &Node, parent: u8, is_right_of_phrase: bool, out: &mut String) {
    match node {
        Node::Lexeme {
            weights,
            is_prefix,
            text,
        } => {
            write_lexeme(text, out);
            if *weights != 0 || *is_prefix {
                out.push(':');
                if *is_prefix {
                    out.push('*');
                }
                for (bit, letter) in [(3, 'A'), (2, 'B'), (1, 'C'), (0, 'D')] {
                    if weights >> bit & 1 == 1 {
                        out.push(letter);
                    }
                }
            }
        }
        Node::Not(inner) => {
            let brackets = priority(NOT) < parent;
            out.push_str(if brackets { "( !" } else { "!" });
            write_node(inner, priority(NOT), false, out);
            out.push_str(if brackets { " )" } else { "" });
        }
        Node::Two {
            operator,
            distance,
            left,
            right,
        } => {
            let own = priority(*operator);
            // A phrase on the right of a phrase keeps its brackets: it does not associate.
            let brackets = own < parent || (*operator == PHRASE && is_right_of_phrase);
            out.push_str(if brackets { "( " } else { "" });
            write_node(left, own, false, out);
            match *operator {
                AND => out.push_str(" & "),
                OR => out.push_str(" | "),
                _ if *distance == 1 => out.push_str(" <-> "),
                _ => {
                    let _ = write!(out, " <{distance}> ");
                }
            }
            write_node(right, own, *operator == PHRASE, out);
            out.push_str(if brackets { " )" } else { "" });
        }
    }
}

pub(crate) fn write_query(bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, "tsquery");
    if form.count(2)? > 0 {
        let node = read_node(&mut form, 0)?;
        write_node(&node, 0, false, out);
    }
    form.end()
}

/// Reads the text of a query; operators of one priority associate to the left.
struct QueryText<'a> {
    rest: &'a str,
    depth: usize,
}

impl QueryText<'_> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn operator(&mut self, wanted: u8) -> Option<(u8, i16)> {
        match wanted {
            1 => self.eat("|").then_some((OR, 0)),
            2 => self.eat("&").then_some((AND, 0)),
            _ => {
                if self.eat("<->") {
                    return Some((PHRASE, 1));
                }
                self.skip_spaces();
                let (number, rest) = self.rest.strip_prefix('<')?.split_once('>')?;
                let distance = number.parse().ok()?;
                self.rest = rest;
                Some((PHRASE, distance))
            }
        }
    }

    fn binary(&mut self, level: u8) -> Option<Node> {
        if level > 3 {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some((operator, distance)) = self.operator(level) {
            let right = self.binary(level + 1)?;
            left = Node::Two {
                operator,
                distance,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let node = if self.eat("!") {
            Node::Not(Box::new(self.unary()?))
        } else if self.eat("(") {
            let node = self.binary(1)?;
            self.eat(")").then_some(node)?
        } else {
            self.lexeme()?
        };
        self.depth -= 1;
        Some(node)
    }

    fn lexeme(&mut self) -> Option<Node> {
        self.skip_spaces();
        let (text, rest) = take_lexeme(self.rest)?;
        self.rest = rest;
        let (mut weights, mut is_prefix) = (0, false);
        if self.eat(":") {
            let end = self
                .rest
                .find(|c: char| !"*ABCD".contains(c))
                .unwrap_or(self.rest.len());
            let (flags, rest) = self.rest.split_at(end);
            self.rest = rest;
            for flag in flags.bytes() {
                match flag {
                    b'*' => is_prefix = true,
                    letter => weights |= 1 << (b'D' - letter),
                }
            }
        }
        Some(Node::Lexeme {
            weights,
            is_prefix,
            text,
        })
    }
}

fn put_node(node: &Node, out: &mut BytesMut) -> i32 {
    match node {
        Node::Lexeme {
            weights,
            is_prefix,
            text,
        } => {
            out.put_slice(&[1, *weights, u8::from(*is_prefix)]);
            out.put_slice(text.as_bytes());
            out.put_u8(0);
            1
        }
        Node::Not(inner) => {
            out.put_slice(&[2, NOT]);
            1 + put_node(inner, out)
        }
        Node::Two {
            operator,
            distance,
            left,
            right,
        } => {
            out.put_slice(&[2, *operator]);
            if *operator == PHRASE {
                out.put_i16(*distance);
            }
            1 + put_node(right, out) + put_node(left, out)
        }
    }
}

pub(crate) fn query_to_binary(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let start = out.len();
    out.put_i32(0);
    if text.trim_matches(' ').is_empty() {
        // It sends one, but calls it malformed when it gets one.
        return Err(Misfit::new(
            "an empty query",
            "a `tsquery` that a server takes in binary form",
        ));
    }
    let mut query = QueryText { rest: text, depth: 0 };
    let node = query.binary(1).filter(|_| query.rest.trim_matches(' ').is_empty());
    let count = put_node(&node.ok_or_else(|| Misfit::malformed("tsquery"))?, out);
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}
