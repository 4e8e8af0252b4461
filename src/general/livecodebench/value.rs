//! Values that functions return, compared as Python's `==` does.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A value of JSON, and the kinds of Python's that JSON does not tell apart.
#[derive(Debug, Clone)]
pub enum Value {
    None,
    /// Any whole number, `True` and `2.0` among them: a sign and its digits.
    Whole(String),
    /// Any other number; not-a-number is equal to nothing.
    Fraction(f64),
    Text(String),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    /// With texts as keys.
    Dict(BTreeMap<String, Self>),
    /// Equal to nothing that JSON can say.
    Opaque,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Whole(a), Self::Whole(b)) | (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Fraction(a), Self::Fraction(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            _ => false,
        }
    }
}

/// Values in values that are read; deeper ones are refused.
const MAX_DEPTH: usize = 256;

impl Value {
    /// Reads JSON as Python does: whole numbers of any length, `NaN`, `Infinity`.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: json.chars().peekable() };
        let value = reader.value(0)?;
        reader.skip_space();
        match reader.rest.next() {
            None => Ok(value),
            Some(c) => Err(format!("`{c}` behind the value")),
        }
    }

    /// A value as the runner writes it, which marks what JSON has no words for.
    #[must_use]
    pub fn unmark(self) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(Self::unmark).collect()),
            Self::Dict(mut entries) => match entries.pop_first() {
                Some((kind, Self::List(items))) if kind == "tuple" => {
                    Self::Tuple(items.into_iter().map(Self::unmark).collect())
                }
                Some((kind, Self::Dict(entries))) if kind == "dict" => {
                    let unmark = |(key, value): (String, Self)| (key, value.unmark());
                    Self::Dict(entries.into_iter().map(unmark).collect())
                }
                _ => Self::Opaque,
            },
            other => other,
        }
    }

    /// A number by its value: whole ones are equal whatever their type.
    fn number(number: f64) -> Self {
        match number.is_finite() && number.fract() == 0.0 {
            // Exact, and without a sign for zero.
            true => Self::Whole(format!("{:.0}", number + 0.0)),
            false => Self::Fraction(number),
        }
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if MAX_DEPTH < depth {
            return Err(format!("more than {MAX_DEPTH} values in each other"));
        }
        self.skip_space();
        match self.rest.peek() {
            Some('[') => {
                let mut items = Vec::new();
                self.sequence(']', |reader| {
                    items.push(reader.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::List(items))
            }
            Some('{') => {
                let mut entries = BTreeMap::new();
                self.sequence('}', |reader| {
                    reader.skip_space();
                    let key = reader.text()?;
                    reader.skip_space();
                    reader.expect(':')?;
                    entries.insert(key, reader.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::Dict(entries))
            }
            Some('"') => Ok(Value::Text(self.text()?)),
            _ => self.word(),
        }
    }

    /// What stands between brackets, parted by commas.
    fn sequence(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.rest.next();
        self.skip_space();
        if self.rest.next_if_eq(&close).is_some() {
            return Ok(());
        }
        loop {
            item(self)?;
            self.skip_space();
            if self.rest.next_if_eq(&close).is_some() {
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    fn text(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let (mut text, mut units) = (String::new(), Vec::new());
        loop {
            let c = self.rest.next().ok_or("a text without end")?;
            let escaped =
                if c == '\\' { Some(self.rest.next().ok_or("a text without end")?) } else { None };
            if escaped == Some('u') {
                let hex: String = self.rest.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&hex, 16).map_err(|_| format!("`\\u{hex}`"))?);
                continue;
            }
            // Pairs of units make one character; half a pair is no character.
            text.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
            match (c, escaped) {
                ('"', _) => return Ok(text),
                (_, Some(c)) => text.push(match c {
                    '"' | '\\' | '/' => c,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    _ => return Err(format!("`\\{c}` in a text")),
                }),
                (c, None) if c < ' ' => return Err(format!("`{}` in a text", c.escape_default())),
                (c, None) => text.push(c),
            }
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)) {
            word.push(c);
        }
        match word.as_str() {
            "null" => Ok(Value::None),
            "true" => Ok(Value::Whole("1".to_owned())),
            "false" => Ok(Value::Whole("0".to_owned())),
            "NaN" => Ok(Value::Fraction(f64::NAN)),
            "Infinity" => Ok(Value::Fraction(f64::INFINITY)),
            "-Infinity" => Ok(Value::Fraction(f64::NEG_INFINITY)),
            _ => number(&word).ok_or_else(|| format!("`{word}` is no value")),
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        match self.rest.next() {
            Some(c) if c == wanted => Ok(()),
            Some(c) => Err(format!("`{wanted}` was wanted, `{c}` found")),
            None => Err(format!("`{wanted}` was wanted at the end")),
        }
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(|c| " \t\n\r".contains(*c)).is_some() {}
    }
}

/// A number of JSON.
fn number(word: &str) -> Option<Value> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let whole = digits.split(['.', 'e', 'E']).next()?;
    if !are_digits(whole) || (1 < whole.len() && whole.starts_with('0')) {
        return None;
    }
    if are_digits(digits) {
        return Some(Value::Whole(if digits == "0" { digits } else { word }.to_owned()));
    }
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let fraction = mantissa.split_once('.').map_or("0", |(_, fraction)| fraction);
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !are_digits(fraction) || !are_digits(exponent) {
        return None;
    }
    word.parse().ok().map(Value::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        Value::parse(json).unwrap_or_else(|why| panic!("{json}: {why}"))
    }

    #[test]
    fn values_are_equal_where_python_says_so() {
        for (a, b, expected) in [
            ("2.0", "2", true),
            ("true", "1", true),
            ("false", "0", true),
            ("-0.0", "0", true),
            ("-0", "0", true),
            ("1e2", "100", true),
            ("null", "0", false),
            ("\"1\"", "1", false),
            ("0.1", "0.10", true),
            ("0.30000000000000004", "0.3", false),
            ("123456789012345678901", "123456789012345678902", false),
            ("1e23", "99999999999999991611392", true),
            ("NaN", "NaN", false),
            ("Infinity", "Infinity", true),
            ("[1, [2]]", "[1,[2.0]]", true),
            ("[1, 2]", "[2, 1]", false),
            ("[]", "\"\"", false),
            ("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}", true),
            ("{\"a\": 1}", "{\"a\": 2}", false),
            (r#""\u00e9\n""#, "\"é\\n\"", true),
            (r#""\ud83d\ude00""#, "\"😀\"", true),
        ] {
            assert_eq!(value(a) == value(b), expected, "{a} {b}");
        }
    }

    #[test]
    fn marks_keep_apart_what_json_does_not() {
        let sent = |json: &str| value(json).unmark();
        assert_eq!(sent("[{\"dict\": {\"a\": [1]}}]"), value("[{\"a\": [1]}]"));
        assert_ne!(sent("[{\"tuple\": [1, 2]}]"), value("[[1, 2]]"));
        assert!(matches!(sent("{\"tuple\": []}"), Value::Tuple(_)));
        assert!(matches!(sent("{\"opaque\": \"set\"}"), Value::Opaque));
        assert_ne!(sent("{\"opaque\": \"set\"}"), sent("{\"opaque\": \"set\"}"));
        // A dict that looks like a mark is marked itself.
        assert_eq!(sent("{\"dict\": {\"tuple\": [1]}}"), value("{\"tuple\": [1]}"));
    }

    #[test]
    fn what_is_no_json_is_told() {
        for json in [
            "", "[1,]", "{1: 2}", "01", "1.", ".5", "1e", "\"a", "\"\\x\"", "[1 2]", "nul", "1 2",
            "+1",
        ] {
            assert!(Value::parse(json).is_err(), "{json}");
        }
        assert!(Value::parse(&"[".repeat(100_000)).is_err());
    }
}
