//! Text fed in any pieces and cut back at any place is what was fed, and its fragments tile it.
#![no_main]

use facilitair_core::stream::{ChunkText, Segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<(bool, u16, &str)>| {
    let verbs = ["retract", "object"].map(str::to_owned);
    let mut text = ChunkText::new("n0nce", verbs).expect("a nonce and verbs that are words");
    let mut shown: Vec<char> = Vec::new();
    let mut ends: Vec<usize> = vec![0];
    let mut last = 0;
    let mut take = |segments: Vec<Segment>, shown: &mut Vec<char>, ends: &mut Vec<usize>| {
        for segment in segments {
            match segment {
                Segment::Text { start, text } => {
                    assert!(start <= shown.len());
                    shown.truncate(start);
                    shown.extend(text.chars());
                }
                Segment::Boundary { number, start, end, .. } => {
                    assert!(number > last, "a number is never used again");
                    last = number;
                    assert_eq!(Some(&start), ends.last(), "fragments tile the text");
                    assert!(start < end);
                    ends.push(end);
                }
                Segment::Control { .. } | Segment::Block(_) => {}
            }
        }
    };
    for (cut, keep, piece) in steps {
        if cut {
            let keep = usize::from(keep) % (text.len() + 1);
            // Fragments are cut at their ends only, as the engine does.
            let keep = ends.iter().copied().filter(|end| *end <= keep).max().unwrap_or(0);
            text.truncate(keep).expect("not beyond the text");
            shown.truncate(keep);
            ends.retain(|end| *end <= keep);
        } else {
            take(text.feed(piece), &mut shown, &mut ends);
        }
    }
    take(text.flush(), &mut shown, &mut ends);
    assert_eq!(shown.iter().collect::<String>(), text.text());
});
