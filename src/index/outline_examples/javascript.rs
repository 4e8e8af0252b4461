use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn javascript_functions_however_bound_are_listed() {
    check(
        "a.js",
        r#"#!/usr/bin/env node
'use strict';
import def, { named } from './named.js';
import * as all from 'all';
const fs = require('fs');
const { join, resolve: res } = require('path');
let counter = 0, limit = 5;
var old;

/**
 * Gets it.
 * More.
 */
export async function fetchIt(url) {
  function nested() {}
  const local = () => {};
  return class Local {};
}

function* walk() {
  yield 1;
}

export const arrow = async (x) => {
  const inner = 1;
};
const short = x => x + 1,
  longer = function () {
    return 2;
  };

@register('a')
export class Outer extends Base {
  static count = 0;
  #hidden = 1;
  handler = (event) => {
    this.#hidden = event;
  };

  constructor(a) {
    super(a);
  }

  // The value.
  @cached
  get value() { return this.#hidden; }
  set value(v) {
    this.#hidden = v;
  }

  static async *[Symbol.asyncIterator]() {}
  'quoted-name'() {}
  #secret() {}
  static { const x = 1; }
}

const Named = class Inner {
  run() {}
};

const api = {
  get(url) {
    return url;
  },
  post: async (url) => {
    return url;
  },
  nested: {
    deep() {},
  },
  plain: 1,
};

app.use = function use(fn) {
  return this;
};
Outer.prototype.late = function () {};
exports.helper = (a) => a;
module.exports = {
  first() {},
  second: function () {},
};

(function () {
  var hidden = 1;
  function insideModule() {}
})();

export default function () {
  return 1;
}
"#,
        expect![[r#"
            imports 3-4
            variable: fs 5
            variable: join 6
            variable: res 6
            variable: counter 7
            variable: limit 7
            variable: old 8
            function: fetchIt 14/14-18 11 `Gets it.`
            function: walk 20/20-22
            function: arrow 24/24-26
            function: short 27
            function: longer 28/28-30
            class: Outer 33/32-55
            function: Outer.handler 36/36-38
            function: Outer.constructor 40/40-42
            function: Outer.value 46/45-46 44 `The value.`, 47/47-49
            function: Outer.[Symbol.asyncIterator] 51
            function: Outer.quoted-name 52
            function: Outer.#secret 53
            class: Named 57/57-59
            function: Named.run 58
            variable: api 61/61-72
            function: api.get 62/62-64
            function: api.post 65/65-67
            function: api.nested.deep 69
            function: app.use 74/74-76
            function: Outer.prototype.late 77
            function: exports.helper 78
            function: module.exports.first 80
            function: module.exports.second 81
            function: insideModule 86
            function: default 89/89-91
        "#]],
    );
}

#[test]
fn javascript_components_are_functions_and_errors_are_stepped_over() {
    check(
        "a.jsx",
        r#"import React from 'react';

export default class Page extends React.Component {
  render() {
    return <div className="a">{this.props.items.map((item) => <Item key={item} />)}</div>;
  }
}

export const Item = React.memo(({ name }) => {
  const [open, setOpen] = useState(false);
  return <b>{name}</b>;
});

function broken( {
  return 1;
}

function after() {
  return 2;
}
"#,
        expect![[r#"
            imports 1
            class: Page 3/3-7
            function: Page.render 4/4-6
            variable: Item 9/9-12
            syntax errors 3
        "#]],
    );
}
