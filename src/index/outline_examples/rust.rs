use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn rust_methods_belong_to_their_types() {
    check(
        "a.rs",
        r#"//! What the module is for.
//! More.

use std::fmt;
use std::collections::{
    BTreeMap,
};
extern crate alloc;

pub const LIMIT: usize = 3;
static mut COUNT: u32 = 0;

/// A point.
///
/// More.
#[derive(Debug, Clone)]
// Between.
#[non_exhaustive]
pub struct Point<T> {
    pub x: T,
}

struct Unit;
pub struct Pair(u32, u32);

#[repr(u8)]
enum Kind {
    A,
    B { x: u32 },
}

pub type Alias<T> = Vec<T>;

impl<T: fmt::Debug> Point<T>
where
    T: Clone,
{
    pub const ORIGIN: u32 = 0;

    /// Makes one.
    #[must_use]
    pub fn new(x: T) -> Self {
        fn nested() {}
        struct Local;
        Self { x }
    }

    pub(crate) async unsafe fn run(
        &self,
        a: u32,
    ) -> u32 {
        a
    }
}

impl<T> fmt::Display for Point<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl<'a> From<&'a str> for Box<Point<u32>> {
    fn from(text: &'a str) -> Self { todo!() }
}

impl Shape for &'static Kind {
    fn area(&self) -> f64 { 1.0 }
}

pub trait Shape: Send {
    const SIDES: u32;
    type Output;
    fn area(&self) -> f64;
    fn name(&self) -> String {
        "shape".into()
    }
}

macro_rules! shout {
    ($x:expr) => { println!("{}", $x) };
}

union Bits {
    a: u32,
    b: f32,
}

pub mod inner {
    use super::*;

    pub const DEEP: u32 = 1;

    pub mod deeper {
        pub fn f() {}
    }

    impl super::Unit {
        fn g() {}
    }
}

extern "C" {
    fn external(a: u32);
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_works() {
        assert!(true);
    }
}

fn main() {}
"#,
        expect![[r#"
            module: 1 `What the module is for.`
            imports 4-8
            imports 89
            variable: LIMIT 10
            variable: COUNT 11
            class: Point 19/16-21 13 `A point.`, 34-37/34-54, 56/56-60
            class: Unit 23
            class: Pair 24
            class: Kind 27/26-30, 66/66-68
            class: Alias 32
            function: Point.new 42/41-46 40 `Makes one.`
            function: Point.run 48-51/48-53
            function: Point.fmt 57/57-59
            class: Box 62/62-64
            function: Box.from 63
            function: Kind.area 67
            class: Shape 70/70-77
            function: Shape.area 73
            function: Shape.name 74/74-76
            function: shout 79/79-81
            class: Bits 83/83-86
            variable: inner.DEEP 91
            function: inner.deeper.f 94
            class: inner.Unit 97/97-99
            function: inner.Unit.g 98
            function: external 103
            function: tests.it_works 109/108-111
            function: main 114
        "#]],
    );
}

#[test]
fn rust_errors_are_stepped_over() {
    check(
        "a.rs",
        "fn a( {\n}\n\nstruct B {\n    x: u32,\n}\n\nfn c() {}\n",
        expect![[r#"
        function: a 1/1-2
        class: B 4/4-6
        function: c 8
        syntax errors 1
    "#]],
    );
}
