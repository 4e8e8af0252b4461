use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn typescript_types_overloads_and_namespaces_are_listed() {
    check(
        "a.ts",
        r#"import { Injectable } from '@angular/core';
import type { Config } from "./config";
import legacy = require("legacy");

export const LIMIT: number = 3;
declare const VERSION: string;

/** What it needs. */
export interface Options<T> extends Base {
  name: string;
  run(a: T): void;
  readonly size: number;
}

export type Handler = (a: string) => void;

export const enum Level {
  Low,
  High,
}

export function parse(text: string): number;
export function parse(text: number): number;
export function parse(text: any): number {
  return 1;
}

declare function external(a: string): void;

@Injectable({
  providedIn: 'root',
})
export class Service<T> implements Options<T> {
  @Input() name: string;
  private readonly cache = new Map<string, T>();
  handler = async (event: Event): Promise<void> => {
    this.cache.clear();
  };

  constructor(private readonly http: Http) {}

  @Output()
  get size(): number {
    return 1;
  }

  run(a: T): void;
  run(a: any) {
    return a;
  }

  static of<T>(this: void): Service<T> { return null!; }
}

abstract class Shape {
  abstract area(): number;
  protected describe(): string {
    return `${this.area()}`;
  }
}

namespace Geometry.Plane {
  export const origin = 0;
  export class Point {
    x = 1;
    move() {}
  }
}

declare module "other" {
  export function f(): void;
}

export const useStore = create<State>((set) => ({
  add: () => set((s) => s),
}));

export const load = async <T,>(key: string): Promise<T> => {
  return null as T;
};
export default abstract class Last {}
"#,
        expect![[r#"
            imports 1-3
            variable: LIMIT 5
            variable: VERSION 6
            class: Options 9/9-13 8 `What it needs.`
            function: Options.run 11
            class: Handler 15
            class: Level 17/17-20
            function: parse 22, 23, 24/24-26
            function: external 28
            class: Service 33/30-53
            function: Service.handler 36/36-38
            function: Service.constructor 40
            function: Service.size 43/42-45
            function: Service.run 47, 48/48-50
            function: Service.of 52
            class: Shape 55/55-60
            function: Shape.area 56
            function: Shape.describe 57/57-59
            variable: Geometry.Plane.origin 63
            class: Geometry.Plane.Point 64/64-67
            function: Geometry.Plane.Point.move 66
            function: f 71
            variable: useStore 74/74-76
            function: load 78/78-80
            class: Last 81
        "#]],
    );
}

#[test]
fn tsx_components_are_listed() {
    check(
        "a.tsx",
        r#"import * as React from "react";

interface Props {
  name: string;
}

export const Button: React.FC<Props> = ({ name }) => {
  const [on, setOn] = useState<boolean>(false);
  return <button onClick={() => setOn(!on)}>{name}</button>;
};

export function List<T extends Props>({ items }: { items: T[] }) {
  return <ul>{items.map((item) => <li key={item.name}>{item.name}</li>)}</ul>;
}
"#,
        expect![[r#"
            imports 1
            class: Props 3/3-5
            function: Button 7/7-10
            function: List 12/12-14
        "#]],
    );
}
