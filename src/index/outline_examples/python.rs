use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn python_async_functions_decorators_and_nested_classes_are_listed() {
    check(
        "a.py",
        r#"#!/usr/bin/env python
"""What the module is for.

More.
"""
from __future__ import annotations
import os, sys
import a.b

if True:
    import json

LIMIT: int = 3
a, (b, c) = 1, (2, 3)
first = second = None
table["x"] = 1
obj.attribute = 2
declared: str
__all__ = []
__all__ += ["f"]
type Alias = list[int]


@decorator(
    1,
)

# A comment between.
@other
async def fetch(
    x: int,
    y: str = "a",
) -> None:
    """
    Gets it.
    """
    inner_name = 1

    def nested():
        pass

    class Local:
        pass
    # trailing comment of the body


class Outer(Base):
    attribute = 1

    class Inner:
        def m(self): return 1

    @property
    def value(self):
        r'''The value.'''
        return self._value

    @value.setter
    def value(self, new):
        self._value = new

    if sys.platform == "win32":
        def run(self):
            pass
    else:
        async def run(self):
            pass


def m():
    pass


try:
    from fast import g
except ImportError:
    def g(): pass

for i in range(3):
    total = i

f = lambda x: (y := x)
"#,
        expect![[r#"
            module: 2 `What the module is for.`
            imports 6-8
            imports 11
            imports 75
            variable: LIMIT 13
            variable: a 14
            variable: b 14
            variable: c 14
            variable: first 15
            variable: second 15
            variable: declared 18
            variable: __all__ 19, 20
            variable: Alias 21
            function: fetch 30-33/29-44 35 `Gets it.`
            class: Outer 47/47-67
            class: Outer.Inner 50/50-51
            function: Outer.Inner.m 51
            function: Outer.value 54/53-56 55 `The value.`, 59/58-60
            function: Outer.run 63/63-64, 66/66-67
            function: m 70/70-71
            function: g 77
            variable: total 80
            variable: f 82
        "#]],
    );
}
