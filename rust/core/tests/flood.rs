//! Streams that flood the I/O thread without content must not keep the news of others from the consumer.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use facilitair_core::stream::{Client, Delta, Mux, Timeouts, Waiting, Wire};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// Answers `/quiet` with a head alone, everything else with what says nothing, as fast as it is read.
fn answer(mut socket: TcpStream, flooding: &AtomicUsize) {
    let mut request = [0; 4096];
    let read = socket.read(&mut request).unwrap();
    socket.write_all(HEAD).unwrap();
    if request[..read].starts_with(b"POST /quiet") {
        let _ = socket.read(&mut request);
        return;
    }
    let nothing = b": ping\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n".repeat(5_000);
    while socket.write_all(&nothing).is_ok() {
        flooding.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_without_content_delays_no_wake() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let flooding = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&flooding);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || answer(socket.unwrap(), &count));
        }
    });

    let (woken, wakes) = mpsc::channel();
    let waker = Box::new(move || {
        let _ = woken.send(());
    });
    let mux = Mux::new(Client::new("test").unwrap(), 1 << 16, waker).unwrap();
    let open = |path: &str| {
        mux.open(&format!("{url}{path}"), &[], Vec::new(), Wire::default(), Timeouts::default()).unwrap()
    };
    let quiet: Vec<_> = (0..10).map(|_| open("/quiet").unwrap()).collect();
    for _ in 0..8 {
        open("/flood");
    }
    while flooding.load(Ordering::Relaxed) < 100 {
        std::thread::sleep(Duration::from_millis(10));
    }
    for stream in quiet {
        assert_eq!(mux.wait(), Waiting::Begun);
        mux.close_stream(stream);
        assert!(wakes.recv_timeout(Duration::from_secs(10)).is_ok(), "no wake");
        assert!(matches!(mux.take()[..], [(closed, Delta::Closed { .. })] if closed == stream));
    }
}
