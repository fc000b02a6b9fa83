//! The multiplexer between threads: whatever the timing, nothing is lost, doubled or out of order, and nobody
//! waits for a wake that never comes.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use facilitair_core::stream::{Client, Delta, Mux, Push, Pushed, StreamId, Waiting};

const PATIENCE: Duration = Duration::from_secs(20);

/// Reads like the bridge: takes what is there, and sleeps only when told that it will be woken.
fn consume(mux: &Mux, woken: &Receiver<()>, mut each: impl FnMut(StreamId, Delta)) {
    loop {
        let batch = mux.take();
        if batch.is_empty() {
            if mux.is_finished() {
                return;
            }
            if mux.wait() == Waiting::Begun {
                match woken.recv_timeout(PATIENCE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => panic!("a wake was lost"),
                    Err(RecvTimeoutError::Disconnected) => panic!("the multiplexer dropped its waker"),
                }
            }
        }
        batch.into_iter().for_each(|(id, delta)| each(id, delta));
        let _ = mux.roomy();
    }
}

fn mux(limit: usize) -> (Mux, Receiver<()>) {
    // As many wakes as there may be beside the one that is waited for: the waker must not block.
    let (wake, woken) = sync_channel(64);
    let waker = Box::new(move || {
        let _ = wake.try_send(());
    });
    (Mux::new(Client::new("test").unwrap(), limit, waker).unwrap(), woken)
}

/// Writes the numbers up to `count`, some as reasoning, and ends; gives how many were taken.
fn write(stream: &Push, count: u64) -> u64 {
    let began = Instant::now();
    for number in 0..count {
        let text = format!("{number},");
        loop {
            let pushed = if number % 5 == 0 { stream.reasoning(&text) } else { stream.content(&text) };
            match pushed {
                Pushed::Taken => break,
                Pushed::Full => {
                    assert!(began.elapsed() < PATIENCE, "nobody makes room");
                    std::thread::yield_now();
                }
                Pushed::Closed => return number,
            }
        }
        if number % 97 == 0 {
            std::thread::yield_now();
        }
    }
    stream.finish("stop".to_owned(), None, None);
    count
}

#[test]
fn what_many_threads_push_arrives_once_and_in_order() {
    const THREADS: u64 = 6;
    const COUNT: u64 = 20_000;
    for limit in [1, 64, 1 << 16] {
        let (mux, woken) = mux(limit);
        let mut texts: HashMap<StreamId, String> = HashMap::new();
        let mut ends = 0;
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let stream = mux.push_stream().unwrap();
                scope.spawn(move || assert_eq!(write(&stream, COUNT), COUNT));
            }
            consume(&mux, &woken, |id, delta| match delta {
                Delta::Content { text, .. } | Delta::Reasoning { text, .. } => {
                    texts.entry(id).or_default().push_str(&text);
                }
                Delta::Finished { .. } => ends += 1,
                other => panic!("{other:?}"),
            });
        });
        let expected: String = (0..COUNT).map(|number| format!("{number},")).collect();
        assert_eq!((ends, texts.len() as u64), (THREADS, THREADS));
        assert!(texts.values().all(|text| *text == expected), "limit {limit}");
    }
}

#[test]
fn streams_come_and_go_while_others_wake_and_stop_them() {
    const STREAMS: u64 = 400;
    let (mux, woken) = mux(256);
    let (taken, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut read, mut ends) = (0, HashMap::<StreamId, u32>::new());
    let keeps_it_open = mux.push_stream().unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (mux, taken) = (&mux, &taken);
                scope.spawn(move || {
                    for number in 0..STREAMS / 2 {
                        let stream = mux.push_stream().unwrap();
                        if number % 3 == writer {
                            taken.fetch_add(write(&stream, 40), Ordering::Relaxed);
                        } else {
                            assert_eq!(stream.content("1,"), Pushed::Taken);
                            taken.fetch_add(1, Ordering::Relaxed);
                            mux.close_stream(stream.id());
                            assert_eq!(stream.content("2,"), Pushed::Closed);
                        }
                    }
                })
            })
            .collect();
        let waker = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                mux.wake();
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        scope.spawn(move || {
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            keeps_it_open.finish("stop".to_owned(), None, None);
        });
        consume(&mux, &woken, |id, delta| match delta {
            Delta::Content { text, .. } | Delta::Reasoning { text, .. } => {
                assert!(!ends.contains_key(&id), "text after the end");
                read += text.matches(',').count() as u64;
            }
            Delta::Finished { .. } | Delta::Failed { .. } | Delta::Closed { .. } => {
                *ends.entry(id).or_default() += 1;
            }
        });
        done.store(true, Ordering::Relaxed);
        waker.join().unwrap();
    });
    assert_eq!(read, taken.load(Ordering::Relaxed));
    assert_eq!(ends.len() as u64, STREAMS + 1);
    assert!(ends.values().all(|&count| count == 1));
}
