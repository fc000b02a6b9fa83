//! The text of a chunk, whole and in pieces: what is cut where, and that no split changes it.

use proptest::prelude::*;

use super::*;

fn chunk() -> ChunkText {
    ChunkText::new("n0", ["object", "retract"].map(String::from)).unwrap()
}

/// The fragments of `text` in order, then what none of them covers.
fn fragments(text: &str) -> (Vec<String>, String) {
    let mut chunk = chunk();
    let mut segments = chunk.feed(text);
    segments.extend(chunk.flush());
    let shown: Vec<char> = chunk.text().chars().collect();
    let mut end = 0;
    let cut = |from: usize, to: usize| shown[from..to].iter().collect::<String>();
    let mut found = Vec::new();
    for segment in segments {
        if let Segment::Boundary { start, end: to, .. } = segment {
            assert_eq!(start, end);
            found.push(cut(start, to));
            end = to;
        }
    }
    (found, cut(end, shown.len()))
}

fn cut(text: &str) -> Vec<String> {
    fragments(text).0
}

fn controls(text: &str) -> (String, Vec<String>) {
    let mut chunk = chunk();
    let mut segments = chunk.feed(text);
    segments.extend(chunk.flush());
    let found = segments.into_iter().filter_map(|segment| match segment {
        Segment::Control { verb, rest } => Some(format!("{verb}|{rest}")),
        _ => None,
    });
    (chunk.text().to_owned(), found.collect())
}

#[test]
fn sentences() {
    assert_eq!(
        cut("One. Two! (Three?) \"Four.\" **Five.** six"),
        ["One. ", "Two! ", "(Three?) ", "\"Four.\" ", "**Five.** ", "six"]
    );
    for whole in
        ["3.14 is pi", "see e.g. this", "(i.e. that)", "J. R. Smith", "Dr. No", "a ? b : c", "U.S. law"]
    {
        assert_eq!(cut(whole), [whole]);
    }
    assert_eq!(cut("你好。再见！ok"), ["你好。", "再见！", "ok"]);
    assert_eq!(cut("end.\nnext"), ["end.\n", "next"]);
}

#[test]
fn a_boundary_comes_with_the_blank_that_ends_it() {
    let mut chunk = chunk();
    assert_eq!(chunk.feed("Hello."), [Segment::Text { start: 0, text: "Hello.".into() }]);
    assert_eq!(
        chunk.feed(" W"),
        [
            Segment::Text { start: 6, text: " ".into() },
            Segment::Boundary { number: 1, start: 0, end: 7 },
            Segment::Text { start: 7, text: "W".into() },
        ]
    );
}

#[test]
fn blocks() {
    assert_eq!(
        cut("# 1. Title\nSome text\nwraps\n\n- a\n* b\n1. c. d\n12) e\n\nx"),
        ["# 1. Title\n", "Some text\nwraps\n\n", "- a\n", "* b\n", "1. c. ", "d\n", "12) e\n", "\nx"]
    );
    assert_eq!(fragments("a.\n\n \n"), (vec!["a.\n".into()], "\n \n".into()));
    assert_eq!(fragments(" \n\n"), (vec![], " \n\n".into()));
}

#[test]
fn code() {
    let text = "Look:\n```py\na. b\n\n    c. d\n\ndef e():\n  f\n\n```\nend";
    assert_eq!(cut(text), ["Look:\n", "```py\na. b\n\n    c. d\n\n", "def e():\n  f\n\n```\n", "end"]);
    assert_eq!(cut("~~~~\n~~~\n```\na. b\n~~~~\nx"), ["~~~~\n~~~\n```\na. b\n~~~~\n", "x"]);
    assert_eq!(cut("``` a ` b\nc. d"), ["``` a ` b\nc. ", "d"]);
    assert_eq!(
        cut("10. x\n\n    ```\n    a. b\n\n    c\n    ```\ny"),
        ["10. x\n", "\n    ```\n    a. b\n\n", "    c\n    ```\n", "y"]
    );
}

#[test]
fn control_lines() {
    let gone = |text: &str, shown: &str, found: &[&str]| {
        let (text, controls) = controls(text);
        assert_eq!((text.as_str(), controls), (shown, found.iter().map(|s| (*s).to_owned()).collect()));
    };
    gone("a\n@@n0 object x#1 no, why?\r\nb", "a\nb", &["object|x#1 no, why?"]);
    gone("@@n0 retract\n", "", &["retract|"]);
    gone("@@n0 retract x#2", "", &["retract|x#2"]);
    gone("@@n0 retract", "", &["retract|"]);
    for text in [
        "@@n0 retr",
        "@@n1 object x\n",
        "@@n0 shout x\n",
        " @@n0 object x\n",
        "a @@n0 object x\n",
        "@",
        "@@n0 \n",
    ] {
        gone(text, text, &[]);
    }
    let fenced = "```\n@@n0 object x\n```\n";
    gone(fenced, fenced, &[]);
    gone("```\n```\n@@n0 object x\n", "```\n```\n", &["object|x"]);
    let endless = format!("@@n0 object {}", "x".repeat(5000));
    gone(&endless, &endless, &[]);
}

#[test]
fn words_are_checked() {
    for (nonce, verb) in [("", "object"), ("a b", "object"), ("n", ""), ("n", "a\n")] {
        assert!(ChunkText::new(nonce, [verb.to_owned()]).is_err());
    }
}

#[test]
fn long_text_is_cut() {
    let words = "word ".repeat(1000);
    let found = cut(&words);
    assert!(found.iter().all(|fragment| fragment.len() <= FRAGMENT_LIMIT && fragment.ends_with("word ")));
    assert_eq!(found.concat(), words);
    let solid = "x".repeat(4000);
    assert_eq!(cut(&solid).iter().map(String::len).collect::<Vec<_>>(), [1500, 1500, 1000]);
}

#[test]
fn truncation_keeps_closed_fragments_and_numbers() {
    let mut chunk = chunk();
    chunk.feed("One. Two. Thr");
    chunk.truncate(5).unwrap();
    assert_eq!((chunk.text(), chunk.len()), ("One. ", 5));
    let again = chunk.feed("Zwei. ");
    assert_eq!(again[1], Segment::Boundary { number: 3, start: 5, end: 11 });
    assert_eq!(chunk.truncate(12), Err(TextError::TooLong { keep: 12, length: 11 }));
    chunk.truncate(0).unwrap();
    assert!(chunk.is_empty());
}

#[test]
fn truncation_drops_held_text_and_reopens_the_fence() {
    let mut chunk = chunk();
    chunk.feed("```\na\n```\n@@n0 obj");
    chunk.truncate(10).unwrap();
    assert_eq!(chunk.feed("@@n0 object x\n"), [Segment::Control { verb: "object".into(), rest: "x".into() }]);
    chunk.truncate(6).unwrap();
    assert_eq!(chunk.feed("@@n0 object x\n").len(), 1);
}

fn writing() -> impl Strategy<Value = String> {
    const PIECES: [&str; 27] = [
        "word ",
        "word ",
        "word",
        "end. ",
        "end. ",
        "。",
        "e.g. ",
        "J. ",
        "?!\" ",
        "\n",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "- ",
        "1. ",
        "# ",
        "```",
        "```",
        "~~~",
        "```py\n",
        "    ",
        "@@n0 object a#1 no\n",
        "@@n0 ",
        "retract x",
        "@",
        "ä\u{2028}🦀",
    ];
    let long = vec![String::new(), String::new(), "x".repeat(1400), "ab ".repeat(500), " ".repeat(800)];
    let pieces = || prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40);
    (pieces(), prop::sample::select(long), pieces())
        .prop_map(|(before, long, after)| format!("{}{long}{}", before.concat(), after.concat()))
}

/// Everything but the way text was cut into segments.
fn essence(segments: &[Segment]) -> (String, Vec<Segment>) {
    let mut text = String::new();
    let mut others = Vec::new();
    for segment in segments {
        match segment {
            Segment::Text { start, text: more } => {
                assert_eq!(*start, text.chars().count());
                text.push_str(more);
            }
            other => others.push(other.clone()),
        }
    }
    (text, others)
}

fn run(chunk: &mut ChunkText, pieces: &[&str]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = pieces.iter().flat_map(|piece| chunk.feed(piece)).collect();
    segments.extend(chunk.flush());
    segments
}

fn boundaries(segments: &[Segment]) -> Vec<(usize, usize)> {
    segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Boundary { start, end, .. } => Some((*start, *end)),
            _ => None,
        })
        .collect()
}

fn at(text: &str, index: prop::sample::Index) -> usize {
    let mut at = index.index(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_gives_the_same(text in writing(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut places: Vec<usize> = cuts.into_iter().map(|cut| at(&text, cut)).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let pieces: Vec<&str> = places.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        let whole = essence(&run(&mut chunk(), &[&text]));
        prop_assert_eq!(essence(&run(&mut chunk(), &pieces)), whole);
    }

    #[test]
    fn fragments_tile(text in writing()) {
        let mut chunk = chunk();
        let segments = run(&mut chunk, &[&text]);
        let shown: Vec<char> = chunk.text().chars().collect();
        let mut end = 0;
        for (start, to) in boundaries(&segments) {
            prop_assert_eq!(start, end);
            let fragment = &shown[start..to];
            let blanks = fragment.iter().take_while(|c| c.is_whitespace()).count();
            prop_assert!(blanks < fragment.len());
            prop_assert!(fragment.len() <= FRAGMENT_LIMIT || blanks > FRAGMENT_LIMIT / 2);
            end = to;
        }
        prop_assert!(shown[end..].iter().all(|c| c.is_whitespace()));
        prop_assert_eq!(shown.len(), chunk.len());
    }

    #[test]
    fn truncation_equals_never_having_fed(a in writing(), b in writing(), keep in any::<prop::sample::Index>()) {
        let mut cut = chunk();
        let mut closed: Vec<usize> = boundaries(&cut.feed(&a)).iter().map(|b| b.1).collect();
        let keep = keep.index(cut.len() + 1);
        cut.truncate(keep).unwrap();
        closed.retain(|end| *end <= keep);
        let prefix = cut.text().to_owned();

        let mut fresh = chunk();
        let mut fresh_closed: Vec<usize> = boundaries(&fresh.feed(&prefix)).iter().map(|b| b.1).collect();
        // A line that was shown cannot become a control line any more; a fresh parser would hold it.
        prop_assume!(fresh.text() == prefix);
        let after_cut = run(&mut cut, &[&b]);
        let after_fresh = run(&mut fresh, &[&b]);
        prop_assert_eq!(cut.text(), fresh.text());
        let said = |segments: &[Segment]| segments.iter().filter(|s| matches!(s, Segment::Control { .. })).cloned().collect::<Vec<_>>();
        prop_assert_eq!(said(&after_cut), said(&after_fresh));
        // A fragment closed by what was cut off stays closed; only then may the next one differ.
        closed.retain(|end| *end > 0);
        fresh_closed.retain(|end| *end > 0);
        if closed == fresh_closed {
            prop_assert_eq!(boundaries(&after_cut), boundaries(&after_fresh));
        }
        let all: Vec<usize> = closed.into_iter().chain(boundaries(&after_cut).iter().map(|b| b.1)).collect();
        prop_assert!(all.windows(2).all(|w| w[0] < w[1]));
    }
}
