use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn cpp_namespaces_and_definitions_outside_of_classes_are_qualified() {
    check(
        "a.cpp",
        r#"// What the file is for.
#include <vector>
#include "shape.hpp"
using namespace std;
using std::vector;

#define LIMIT 3

namespace geometry {

constexpr double pi = 3.14;
using Alias = std::vector<int>;

/// A shape.
template <typename T>
class Shape : public Base<T> {
public:
    Shape();
    explicit Shape(int size) : size_(size) {}
    virtual ~Shape() = default;
    virtual double area() const = 0;
    bool operator==(const Shape &other) const { return true; }
    T *data() { return data_; }
    const T &at(int i) const;

    struct Inner {
        void run() {}
        enum class State { On, Off };
    };

    template <typename U>
    U convert() const {
        return U();
    }

private:
    int size_ = 0;
    T *data_;
};

namespace detail { namespace {
int hidden() { return 1; }
} }

}  // namespace geometry

namespace geometry::plane {
struct Point { int x, y; };
inline Point operator+(const Point &a, const Point &b) { return a; }
}

// Makes one.
template <typename T>
geometry::Shape<T>::Shape() {
    auto f = [](int x) { int y = x; return y; };
}

template <class T>
const T &geometry::Shape<T>::at(int i) const { return data_[i]; }

geometry::Shape<int>::Inner *make() { return nullptr; }

Widget::~Widget() {}
Widget &Widget::operator=(const Widget &other) { return *this; }
Widget::operator bool() const { return true; }
void Widget::run(int a) {}
void Widget::run(const char *a) {}
int Widget::count = 0;

class EXPORT_API Exported final : public Base {
public:
    void method();
};

extern "C" {
int c_function(int a);
}

[[nodiscard]] static auto trailing(int a) -> int {
    return a;
}

template <> struct std::hash<Widget> {
    size_t operator()(const Widget &w) const { return 0; }
};

template <typename T>
concept Addable = requires(T a) { a + a; };

enum Color { Red, Green };

int broken(int a {
    return a;
}

int after() { return 0; }
"#,
        expect![[r#"
            imports 2-5
            variable: LIMIT 7
            variable: geometry.pi 11
            class: geometry.Alias 12
            class: geometry.Shape 16/15-39 14 `A shape.`
            function: geometry.Shape.Shape 18, 19, 54/53-56 52 `Makes one.`
            function: geometry.Shape.area 21
            function: geometry.Shape.operator== 22
            function: geometry.Shape.data 23
            function: geometry.Shape.at 24, 59/58-59
            class: geometry.Shape.Inner 26/26-29
            function: geometry.Shape.Inner.run 27
            class: geometry.Shape.Inner.State 28
            function: geometry.Shape.convert 32/31-34
            function: geometry.detail.hidden 42
            class: geometry.plane.Point 48
            function: geometry.plane.operator+ 49
            function: make 61
            function: Widget.~Widget 63
            function: Widget.operator= 64
            function: Widget.operator bool 65
            function: Widget.run 66, 67
            variable: Widget.count 68
            class: Exported 70/70-73
            function: Exported.method 72
            function: c_function 76
            function: trailing 79/79-81
            class: std.hash 83/83-85
            function: std.hash.operator() 84
            class: Addable 88/87-88
            class: Color 90
            function: broken 92/92-94
            function: after 96
            syntax errors 1
        "#]],
    );
}

#[test]
fn cpp_classes_and_functions_behind_macros_are_listed() {
    check(
        "a.h",
        "namespace fmt {\nEXPORT class API error : public base {\n public:\n  CONSTEXPR explicit error(int x) NOTHROW {}\n  template <typename T, ENABLE_IF(is<T>::value)>\n  INLINE auto code() const -> int { return 1; }\n};\n}\n",
        expect![[r#"
            class: fmt.error 2/2-7
            function: fmt.error.error 4
            function: fmt.error.code 6/5-6
        "#]],
    );
}
