use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn c_functions_types_and_macros_are_listed() {
    check(
        "a.c",
        r#"/* What the file is for. */
#ifndef A_H
#define A_H
#include <stdio.h>
#include "local.h"

#define LIMIT 3
#define MAX(a, b) \
    ((a) > (b) ? (a) : (b))

struct point {
    int x;
    int y;
};

typedef struct {
    struct { int deep; } inner;
    char name[10];
} record_t;

typedef struct node {
    struct node *next;
} node_t;

typedef struct same {
    int a;
} same;

typedef unsigned long size_type;
typedef int (*callback)(void *, int);

enum color { RED, GREEN };
typedef enum { UP, DOWN } direction;
union value { int i; float f; };

static int counter = 0;
const char *names[] = { "a", "b" };
int first, second;
static struct point origin = { 0, 0 };
int (*handler)(int) = NULL;

int declared(int a);
char *also_declared(void);

/* Adds.
 * More. */
static inline int add(int a, int b)
{
    int local = a;
    return local + b;
}

char **split(
    const char *text,
    char sep
) {
    return NULL;
}

#ifdef WIN32
int platform(void) { return 1; }
#else
int platform(void) { return 2; }
#endif

int old_style(a, b)
    int a;
    int b;
{
    return a + b;
}

int broken(int a {
    return a;
}

int after(void) { return 0; }
#endif
"#,
        expect![[r#"
            imports 4-5
            variable: LIMIT 7
            function: MAX 8/8-9
            class: point 11/11-14
            class: record_t 16/16-19
            class: node 21/21-23
            class: node_t 21-23
            class: same 25/25-27
            class: size_type 29
            class: callback 30
            class: color 32
            class: direction 33
            class: value 34
            variable: counter 36
            variable: names 37
            variable: first 38
            variable: second 38
            variable: origin 39
            variable: handler 40
            function: declared 42
            function: also_declared 43
            function: add 47-48/47-51 45 `Adds.`
            function: split 53-56/53-58
            function: platform 61, 63
            function: old_style 66-69/66-71
            function: broken 73/73-75
            function: after 77
            syntax errors 1
        "#]],
    );
}

#[test]
fn c_functions_whose_brackets_stand_in_conditions_end_where_they_end() {
    check(
        "a.c",
        "void f(int a)\n{\n#ifdef A\n  if (a) {\n#else\n  if (!a) {\n#endif\n    g();\n  }\n}\nint after(void) { return 1; }\n",
        expect![[r#"
            function: f 1-2/1-10
            function: after 11
        "#]],
    );
}
