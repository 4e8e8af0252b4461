use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn go_methods_belong_to_their_receivers() {
    check(
        "a.go",
        r#"// Package shapes has shapes.
package shapes

import "fmt"
import (
	"os"
	str "strings"
)

const Pi = 3.14

const (
	// A is the first.
	A = iota
	B
)

var (
	first, second = 1, 2
	handler = func(w int) {
		inner := 1
	}
)
var ErrClosed = fmt.Errorf("closed")

// Shape has an area.
type Shape interface {
	Area() float64
	fmt.Stringer
}

type (
	// Point is a point.
	Point struct {
		X, Y int
	}
	Alias = Point
	ID string
)

type Stack[T any] struct {
	items []T
}

// Area of a point.
//
// It is none.
func (p Point) Area() float64 {
	nested := func() {}
	nested()
	return 0
}

func (s *Stack[T]) Push(item T) {
	s.items = append(s.items, item)
}

func (ID) String() string { return "" }

func Map[T, U any](
	items []T,
	f func(T) U,
) []U {
	return nil
}

func init() {}

func init() {
	os.Exit(1)
}

func assembly(x int) int

func broken( {
}

func After() {}
"#,
        expect![[r#"
            imports 2
            imports 4-8
            variable: Pi 10
            variable: A 14 13 `A is the first.`
            variable: B 15
            variable: first 19
            variable: second 19
            variable: handler 20/20-22
            variable: ErrClosed 24
            class: Shape 27/27-30 26 `Shape has an area.`
            function: Shape.Area 28
            class: Point 34/34-36 33 `Point is a point.`
            class: Alias 37
            class: ID 38
            class: Stack 41/41-43
            function: Point.Area 48/48-52 45 `Area of a point.`
            function: Stack.Push 54/54-56
            function: ID.String 58
            function: Map 60-63/60-65
            function: init 67, 69/69-71
            function: assembly 73
            function: broken 75/75-76
            function: After 78
            syntax errors 1
        "#]],
    );
}
