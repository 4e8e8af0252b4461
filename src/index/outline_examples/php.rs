use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn php_traits_enums_and_namespaces_are_listed() {
    check(
        "a.php",
        r#"<?php
/**
 * What the file is for.
 */

declare(strict_types=1);

namespace App\Models;

use App\Base;
use App\{First, Second};
use function App\helper;
require_once __DIR__ . '/other.php';

const LIMIT = 3, OTHER = 4;
define('DEFINED', 1);
$config = ['a' => 1];

/**
 * A user.
 */
#[Entity]
#[Table(
    name: 'users'
)]
final class User extends Base implements Countable
{
    use HasName;

    public const MAX = 1;
    private ?string $name = null;

    /** Makes one. */
    public function __construct(
        private readonly int $id,
    ) {
        parent::__construct();
    }

    #[Override]
    public function count(): int
    {
        $f = function ($x) { $y = $x; };
        return 1;
    }

    abstract protected function later(): void;

    public static function make(): static { return new static(1); }
}

interface Shape
{
    public function area(): float;
}

trait HasName
{
    public function name(): string { return $this->name; }
}

enum Suit: string
{
    case Hearts = 'H';
    const Wild = self::Hearts;

    public function label(): string
    {
        return 'x';
    }
}

/** Helps. */
function helper(array $items = []): array
{
    function nested() {}
    return $items;
}

if (!function_exists('compat')) {
    function compat() {}
}

$arrow = fn ($x) => $x + 1;

return new class extends Migration {
    public function up(): void {}
};
"#,
        expect![[r#"
            imports 8
            imports 10-13
            variable: LIMIT 15
            variable: OTHER 15
            variable: DEFINED 16
            variable: $config 17
            class: User 26-27/22-50 20 `A user.`
            function: User.__construct 34-36/34-38 33 `Makes one.`
            function: User.count 41-42/40-45
            function: User.later 47
            function: User.make 49
            class: Shape 52-53/52-55
            function: Shape.area 54
            class: HasName 57-58/57-60
            function: HasName.name 59
            class: Suit 62-63/62-71
            function: Suit.label 67-68/67-70
            function: helper 74-75/74-78 73 `Helps.`
            function: compat 81
            variable: $arrow 84
            function: up 87
        "#]],
    );
}

#[test]
fn php_between_html_and_in_braces_is_listed() {
    check(
        "a.php",
        r#"<html>
<?php
namespace First {
    class A {
        function run() {}
    }
}
namespace Second {
    function f() {}
    function broken( {
    }
}
?>
<b><?= f() ?></b>
</html>
"#,
        expect![[r#"
            class: A 4/4-6
            function: A.run 5
            function: f 9
            function: broken 10/10-11
            syntax errors 1
        "#]],
    );
}
