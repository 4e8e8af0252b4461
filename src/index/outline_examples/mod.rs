//! Source text in, outline text out, a file for each language.

mod c;
mod cpp;
mod go;
mod java;
mod javascript;
mod php;
mod python;
mod ruby;
mod rust;
mod typescript;

use expect_test::Expect;

use crate::index::outline::render_outline;
use crate::index::outline_of;
use crate::repo::path::RepoPath;
use crate::repo::text::Text;

#[track_caller]
fn check(path: &str, source: &str, expect: Expect) {
    let path = RepoPath::parse(path).unwrap();
    let text = Text::decode(source.as_bytes()).unwrap();
    expect.assert_eq(&render_outline(&outline_of(&path, &text)));
}
