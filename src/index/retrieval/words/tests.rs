//! Which terms a text has.

use expect_test::{Expect, expect};

use crate::index::retrieval::words::stop_words::{STOP_WORDS, is_stop_word};
use crate::index::retrieval::words::{TermReader, identifiers};

#[track_caller]
fn check(text: &str, expect: Expect) {
    let mut reader = TermReader::default();
    let mut terms = Vec::new();
    for (_, identifier) in identifiers(text) {
        reader.read(identifier, |term| terms.push(term.to_owned()));
    }
    expect.assert_eq(&terms.join(" "));
}

#[test]
fn names_of_one_thing_share_a_term() {
    check(
        "DataElement data_element DataElements dataelement",
        expect![
            "data element dataelement data element dataelement data element dataelement dataelement"
        ],
    );
    check(
        "HTTPServer __init__ URLs utf8_Decode L003",
        expect!["http server httpserver init url utf8 decod utf8decod l003"],
    );
}

#[test]
fn word_forms_share_a_term() {
    check(
        "parse parses parsing parsed mapping maps queries query class status",
        expect!["pars pars pars pars map map query query class status"],
    );
}

#[test]
fn numbers_and_single_letters_are_no_terms() {
    check("x 12 0x1F 3.4 _ é größe ÜberGröße", expect!["0x1 0x1f größe über größe übergröße"]);
}

#[test]
fn stop_words_are_in_order() {
    assert!(STOP_WORDS.is_sorted());
    assert!(is_stop_word("the") && !is_stop_word("parser"));
}
