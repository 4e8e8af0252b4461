use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn java_overloads_nested_types_and_annotations_are_listed() {
    check(
        "A.java",
        r#"/* Licence. */
package com.example.shop;

import java.util.List;
import static java.lang.Math.max;

/**
 * A cart.
 */
@Entity
@Table(
    name = "carts"
)
public final class Cart<T extends Item> extends Base implements Runnable {
    private static final int LIMIT = 3;
    private final Runnable task = new Runnable() {
        @Override
        public void run() {}
    };
    @Inject private Service service;

    static {
        System.loadLibrary("x");
    }

    /** Makes one. */
    public Cart() {
        this(1);
    }

    @Deprecated
    // Why.
    protected Cart(
        int size
    ) throws IOException {
        super(size);
    }

    @Override public void run() {
        class Local { void hidden() {} }
        Runnable r = () -> { int x = 1; };
    }

    @GetMapping("/total")
    public <R> R total(List<T> items) { return null; }

    public int total(int a, int b) {
        return a + b;
    }

    abstract static class Line {
        abstract int price();

        class Deep {
            void run() {}
        }
    }

    enum State {
        OPEN {
            @Override boolean isOpen() { return true; }
        },
        CLOSED;

        boolean isOpen() { return false; }
    }

    interface Visitor {
        int MAX = 1;
        void visit(Cart cart);
        default void done() {}
    }

    record Price(long cents, String currency) {
        Price {
            if (cents < 0) throw new IllegalArgumentException();
        }
        static Price zero() { return new Price(0, "EUR"); }
    }

    @interface Marker {
        String value() default "";
    }
}

class Other { void broken( { } }

class Last {
    void run() {}
}
"#,
        expect![[r#"
            imports 2
            imports 4-5
            class: Cart 14/10-84 8 `A cart.`
            function: Cart.Cart 27/27-29 26 `Makes one.`, 33-35/31-37
            function: Cart.run 39/39-42
            function: Cart.total 45/44-45, 47/47-49
            class: Cart.Line 51/51-57
            function: Cart.Line.price 52
            class: Cart.Line.Deep 54/54-56
            function: Cart.Line.Deep.run 55
            class: Cart.State 59/59-66
            function: Cart.State.isOpen 61, 65
            class: Cart.Visitor 68/68-72
            function: Cart.Visitor.visit 70
            function: Cart.Visitor.done 71
            class: Cart.Price 74/74-79
            function: Cart.Price.Price 75/75-77
            function: Cart.Price.zero 78
            class: Cart.Marker 81/81-83
            function: Cart.Marker.value 82
            class: Other 86
            function: Other.broken 86
            class: Last 88/88-90
            function: Last.run 89
            syntax errors 1
        "#]],
    );
}
