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
            Segment::Boundary { number: 1, start: 0, end: 7, forced: false, in_code: false },
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
    for text in ["@@n0 retr", "@@n1 object x\n", "@@n0 shout x\n", "@", "@@n0 \n"] {
        gone(text, text, &[]);
    }
    let fenced = "```\nx\n@@n0 object x\n```\n";
    gone(fenced, fenced, &[]);
    gone("```\n```\n@@n0 object x\n", "```\n```\n", &["object|x"]);
    let lengthy = format!("{} @@n0 object x\n", "a".repeat(33));
    gone(&lengthy, &lengthy, &[]);
    gone("It ended. @@n0 object x\n", "It ended. @@n0 object x\n", &[]);
    let endless = format!("@@n0 object {}", "x".repeat(5000));
    gone(&endless, &endless, &[]);
}

#[test]
fn decorated_control_lines() {
    for line in [
        "`@@n0 object #1 no`",
        "**@@n0 object #1 no**",
        "**Verdict:** `@@n0 object #1 no`",
        "Verdict: @@n0 object #1 no",
        "    @@n0 object #1 no",
        "> - @@n0 object: #1 no",
        "1. *@@n0 Object* #1 no",
        "```\n@@n0 object #1 no\n```",
        "~~~text\n\n  @@n0 object #1 no\n\n~~~~",
        "```\n@@n0 object #1 no",
    ] {
        for text in [format!("One. Two\n{line}"), format!("One. Two\n{line}\n"), line.to_owned()] {
            let (shown, found) = controls(&text);
            assert_eq!(found, ["object|#1 no"], "{text:?}");
            assert_eq!(shown, if text.starts_with("One") { "One. Two\n" } else { "" }, "{text:?}");
        }
    }
    let (text, found) = controls("```\n@@n0 object x\n\n@@n0 retract y\n```\nEnd.");
    assert_eq!((text.as_str(), found.len()), ("End.", 2));
    for code in ["```\n@@n0 object x\ncode\n```\n", "```\n@app.route\n```\n", "```py\n@@n0 object x\n``\n"] {
        assert_eq!(controls(code), (code.to_owned(), vec![]));
    }
}

#[test]
fn a_label_that_was_shown_is_taken_back() {
    let mut chunk = chunk();
    chunk.feed("One.\n\n");
    assert_eq!(chunk.feed("Verdict: ").last(), Some(&Segment::Text { start: 6, text: "Verdict: ".into() }));
    assert_eq!(
        chunk.feed("@@n0 object x\nTwo"),
        [
            Segment::Text { start: 6, text: String::new() },
            Segment::Control { verb: "object".into(), rest: "x".into() },
            Segment::Text { start: 6, text: "Two".into() },
        ]
    );
    assert_eq!(chunk.text(), "One.\n\nTwo");
}

/// The blocks of `text`, each with its kind and the length of its heading.
fn parts(text: &str) -> Vec<(BlockKind, String, usize)> {
    let mut chunk = chunk();
    let mut segments = chunk.feed(text);
    segments.extend(chunk.flush());
    let shown: Vec<char> = chunk.text().chars().collect();
    let blocks = segments.into_iter().filter_map(|segment| match segment {
        Segment::Block(block) => Some(block),
        _ => None,
    });
    blocks.map(|b| (b.kind, shown[b.start..b.end].iter().collect(), b.body - b.start)).collect()
}

#[test]
fn text_is_a_sequence_of_blocks() {
    use BlockKind::{Code, Heading, List, Prose, Table};
    let whole = [
        (Prose, "# A\n\n## B\n\nSome text\nwraps.\n\n", 11),
        (List, "- a\n\n- b\n\n  more of b\n1. c\n\n", 0),
        (Prose, "*Not* an item.\n\n", 0),
        (Table, "| a |\n|---|\n| b. c |\n\n", 0),
        (Prose, "Look:\n", 0),
        (Code, "```py\na\n\n\n# b\n```\n", 0),
        (Prose, "Then.\n\n", 0),
        (List, "These:\n- x\n\n", 0),
        (Heading, "# End", 5),
    ];
    let text: String = whole.iter().map(|block| block.1).collect();
    let expected: Vec<_> =
        whole.iter().map(|(kind, text, body)| (*kind, (*text).to_owned(), *body)).collect();
    assert_eq!(parts(&text), expected);
}

#[test]
fn a_block_has_closed_when_the_next_one_begins() {
    let mut chunk = chunk();
    let blocks = |segments: &[Segment]| segments.iter().filter(|s| matches!(s, Segment::Block(_))).count();
    assert_eq!(blocks(&chunk.feed("One.\n\n  \n")), 0);
    let next = chunk.feed("T");
    assert!(matches!(next[0], Segment::Block(Block { start: 0, end: 9, kind: BlockKind::Prose, .. })));
    assert_eq!(next[1], Segment::Text { start: 9, text: "T".into() });
    chunk.feed("wo:\n- a\n\n");
    assert_eq!(chunk.feed("-"), []);
    assert_eq!(blocks(&chunk.feed(" b\n\n")), 0);
    assert_eq!(chunk.feed("1"), []);
    let next = chunk.feed("2 is no item");
    assert_eq!(blocks(&next[..1]), 1);
    assert_eq!(next[1], Segment::Text { start: 24, text: "12 is no item".into() });
}

#[test]
fn a_piece_is_inserted_whole() {
    let mut chunk = chunk();
    chunk.feed("See:\n\n");
    let piece = format!("```py\n@@n0 object x\n{}```\n", "a. b\n\n".repeat(600));
    let segments = chunk.insert(&piece).unwrap();
    let end = 6 + piece.chars().count();
    assert!(segments.iter().all(|segment| !matches!(segment, Segment::Control { .. })));
    assert!(segments.contains(&Segment::Boundary {
        number: 2,
        start: 6,
        end,
        forced: false,
        in_code: false
    }));
    assert!(matches!(segments.last(), Some(Segment::Block(Block { start: 6, kind: BlockKind::Code, .. }))));
    chunk.feed("After it. More");
    assert_eq!(chunk.truncate(100), Err(TextError::Inside { keep: 100 }));
    chunk.truncate(end + 10).unwrap();
    assert_eq!(chunk.text(), format!("See:\n\n{piece}After it. "));
    assert_eq!(chunk.open_fence(), None);
    chunk.truncate(6).unwrap();
    assert_eq!(chunk.text(), "See:\n\n");
    assert!(chunk.insert("no end").is_err());
}

#[test]
fn the_open_fence_is_known() {
    let mut chunk = chunk();
    chunk.feed("a\n```py x\nb\n\nc\n");
    assert_eq!(chunk.open_fence(), Some("```py x"));
    chunk.feed("```\n");
    assert_eq!(chunk.open_fence(), None);
}

#[test]
fn rows_of_a_table_are_fragments() {
    assert_eq!(cut("| a. b |\n|---|\n| c |\n"), ["| a. b |\n", "|---|\n", "| c |\n"]);
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
    assert_eq!(again[1], Segment::Boundary { number: 3, start: 5, end: 11, forced: false, in_code: false });
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
    const PIECES: [&str; 33] = [
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
        "**Note:** `",
        "```\n@@n0 object #2\n",
        "| a. b |\n",
        "\n\n- ",
        "\n\n1",
        "Two.\n\n",
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
                let kept = text.chars().take(*start).collect::<String>();
                assert_eq!(*start, kept.chars().count());
                assert!(!more.is_empty() || *start < text.chars().count());
                text = kept + more;
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
        prop_assume!(!prefix.lines().last().is_some_and(|line| line.contains('@')));
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
