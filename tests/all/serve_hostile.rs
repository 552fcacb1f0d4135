//! `serve` among those who mean it no good: whatever a client does is bounded, answered or closed, and the others are
//! served meanwhile.

use crate::support::chats::{demo, forever, random, text, user, with};
use crate::support::http::{Response, Server};
use crate::support::program::emulated;
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long others wait for an answer at most, most of the time: some tests run beside this one.
const SOON: Duration = Duration::from_secs(1);

/// Has the limits of time be twenty times shorter: half a second for a header and for the beginning of a body, 3.75 s
/// between requests, 1.5 s for a reader.
const HURRY: [&str; 2] = ["--hurry", "20"];

/// Longer than half a second by far.
const A_WHILE: Duration = Duration::from_secs(20);

const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";

/// Says that something is done, also when it failed: nobody waits for it any longer then.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks again and again while `deed` is done, and some more while what it returns is held; answers come soon.
fn meanwhile<T>(server: &Server, deed: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    let question = with(user("What is 2 + 3?"), json!({"temperature": 0}));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut times = Vec::new();
            let mut n_left = 5;
            while n_left > 0 {
                n_left -= usize::from(is_done.load(Ordering::Relaxed));
                let start = Instant::now();
                assert_eq!(server.get("/health").status, 200);
                assert_eq!(text(&server.chat(&question)), "2+3=5");
                times.push(start.elapsed());
            }
            times.sort();
            times
        });
        let done = Done(&is_done);
        let held = deed();
        drop(done);
        let times = asking.join().unwrap();
        let (n, median, slowest) = (times.len(), times[times.len() / 2], times[times.len() - 1]);
        println!("{n} answers meanwhile, median {median:?}, slowest {slowest:?}");
        assert!(median < SOON, "others wait: {times:?}");
        held
    })
}

/// What comes until the connection is closed, which is soon.
fn last_words(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    let mut said = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => said.extend_from_slice(&bytes[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection stays open: {:?}", String::from_utf8_lossy(&said))
            }
            // Closed with something unread.
            Err(_) => break,
        }
    }
    String::from_utf8(said).unwrap()
}

/// Sends single bytes until it cannot.
fn trickle(mut stream: TcpStream, byte: &[u8]) -> TcpStream {
    let start = Instant::now();
    while start.elapsed() < A_WHILE && stream.write_all(byte).is_ok() {
        thread::sleep(Duration::from_millis(50));
    }
    stream
}

#[test]
fn a_header_that_has_begun_must_end_and_a_quiet_connection_may_stay() {
    let server = Server::start(&demo(), &HURRY);
    let mut quiet = server.connect(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut first = [0; 12];
    quiet.read_exact(&mut first).unwrap();
    let start = Instant::now();
    meanwhile(&server, || {
        let half: Vec<TcpStream> = (0..100).map(|_| server.connect(POST.as_bytes())).collect();
        let slow = server.connect(POST.as_bytes());
        assert_eq!(last_words(trickle(slow, b"x")), "");
        assert!(half.into_iter().all(|stream| last_words(stream).is_empty()));
    });
    // The other one may have been quiet for longer than a header may take, and is heard; its header has a time as well.
    if start.elapsed() < Duration::from_secs(3) {
        quiet.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea").unwrap();
        let mut said = [0; 2048];
        while !String::from_utf8_lossy(&said).contains("\"status\":\"ok\"") {
            assert!(quiet.read(&mut said).unwrap() > 0, "a quiet connection was closed");
        }
    }
    last_words(quiet);
    // One that never says anything is closed as well.
    last_words(server.connect(b""));
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::start(&demo(), &HURRY);
    meanwhile(&server, || {
        let head = format!("{POST}content-length: 5000\r\n\r\n{{");
        let half: Vec<TcpStream> = (0..100).map(|_| server.connect(head.as_bytes())).collect();
        let slow = trickle(server.connect(head.as_bytes()), b" ");
        for stream in half.into_iter().chain([slow]) {
            let said = last_words(stream);
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408") && said.contains("too slowly"), "{said}");
        }
        // Who sends half and goes is not waited for either.
        let gone = server.connect(head.as_bytes());
        gone.shutdown(Shutdown::Write).unwrap();
        last_words(gone);
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_and_its_client_learns_why() {
    let server = Server::start(&demo(), &["--max-body", "1M"]);
    let n = 100 << 20;
    let piece = vec![b'x'; 1 << 20];
    meanwhile(&server, || {
        let mut whole = server.connect(format!("{POST}connection: close\r\ncontent-length: {n}\r\n\r\n").as_bytes());
        (0..100).for_each(|_| whole.write_all(&piece).unwrap());
        assert!(last_words(whole).starts_with("HTTP/1.1 413"));
        // Without a length, and without an end: there is a limit to what is taken.
        let mut endless = server.connect(format!("{POST}transfer-encoding: chunked\r\n\r\n").as_bytes());
        let mut n_sent = 0;
        while n_sent < 1000 && write!(endless, "{:x}\r\n", piece.len()).is_ok() {
            if endless.write_all(&piece).and_then(|()| endless.write_all(b"\r\n")).is_err() {
                break;
            }
            n_sent += 1;
        }
        assert!(n_sent < 1000, "all of it was taken");
    });
    // Who asks before sends nothing.
    let asks = server.connect(format!("{POST}expect: 100-continue\r\ncontent-length: {n}\r\n\r\n").as_bytes());
    assert!(last_words(asks).starts_with("HTTP/1.1 413"));
    let mut small = server.connect(format!("{POST}expect: 100-continue\r\ncontent-length: 2\r\n\r\n").as_bytes());
    let mut said = [0; 25];
    small.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    // A wrong key or path is told as well, whatever comes behind it.
    let mut lost = server.connect(
        format!("POST /v1/chat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {n}\r\n\r\n")
            .as_bytes(),
    );
    (0..100).for_each(|_| lost.write_all(&piece).unwrap());
    assert!(last_words(lost).starts_with("HTTP/1.1 404"));
}

/// The most memory that was resident at once since the last call, in bytes.
fn peak(server: &Server) -> usize {
    if !cfg!(target_os = "linux") {
        return 0;
    }
    let of = format!("/proc/{}", server.child.id());
    let status = std::fs::read_to_string(format!("{of}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    std::fs::write(format!("{of}/clear_refs"), "5").unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn a_body_takes_no_more_memory_than_it_may() {
    let server = Server::start(&demo(), &["--ctx", "4096"]);
    server.chat(&user("a"));
    let before = peak(&server);
    let ask = |body: String| server.ask("POST /v1/chat/completions", &["content-type: application/json"], &body);
    let deep = ask(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    assert_eq!((deep.status, &deep.json()["error"]["code"]), (400, &json!("invalid_json")));
    // Each of these would take more than a gigabyte.
    for piece in ["0,", "[],", "{},", "\"\","] {
        let many = ask(format!("{{\"messages\":[{}0]}}", piece.repeat((30 << 20) / piece.len())));
        assert_eq!(many.status, 413, "{many:?}");
        assert!(many.body.contains("values"), "{many:?}");
    }
    if !emulated() {
        let refused = peak(&server) - before;
        assert!(refused < 16 << 20, "{refused} bytes for bodies that are refused");
    }
    // As many values as may be, and as long a text: within what the plan has for them.
    let ids = server.post("/v1/completions", &json!({"prompt": vec![1; 250_000]}));
    assert_eq!(ids.json()["error"]["n_prompt_tokens"], 250_000);
    let pairs: String = (0..120_000).map(|i| format!("\"{i}\":1,")).collect();
    let pairs = ask(format!("{{\"messages\":[], \"logit_bias\":{{{pairs}\"x\":1}}}}"));
    assert_eq!(pairs.status, 400, "{pairs:?}");
    let long = ask(format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}", "word ".repeat(6 << 20)));
    assert_eq!((long.status, &long.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    // What was sent does not come back with the error.
    let role = ask(format!("{{\"messages\":[{{\"role\":\"{}\"}}]}}", "judge".repeat(1 << 20)));
    assert!(role.status == 400 && role.body.len() < 4000, "{}", role.body.len());
    let digits = ask(format!("{{\"messages\":[], \"logit_bias\":{{\"1\":{}}}}}", "1".repeat(1 << 20)));
    assert!(digits.status == 400 && digits.body.len() < 4000, "{}", digits.body.len());
    if !emulated() {
        let taken = peak(&server) - before;
        assert!(taken < 148 << 20, "{taken} bytes for bodies that are taken");
    }
}

#[test]
fn large_bodies_keep_out_no_small_ones() {
    let server = Server::start(&demo(), &["--ctx", "4096"]);
    let long = with(user(&"word ".repeat(6_000_000)), json!({"temperature": 0}));
    let values = json!({"prompt": vec![1; 250_000]});
    meanwhile(&server, || {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let status = server.chat(&long).status;
                        assert!(status == 400 || status == 503, "{status}");
                    }
                });
                scope.spawn(|| (0..5).for_each(|_| assert_eq!(server.post("/v1/completions", &values).status, 400)));
            }
        });
    });
    // Bodies that only come, and hold all the memory there is for bodies, keep out large ones alone.
    let half = [b"{\"a\": \"".to_vec(), vec![b' '; 31_000_000]].concat();
    let mut waiting: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = server.connect(format!("{POST}content-length: 31999000\r\n\r\n").as_bytes());
            stream.write_all(&half).unwrap();
            stream
        })
        .collect();
    meanwhile(&server, || ());
    let refused = server.chat(&with(user(&"word ".repeat(1_000_000)), json!({})));
    assert_eq!(refused.status, 503, "{refused:?}");
    waiting.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
}

#[test]
fn connections_have_a_limit_and_two_hundred_are_below_it() {
    let server = Server::start(&demo(), &HURRY);
    let many: Vec<TcpStream> = meanwhile(&server, || (0..200).map(|_| server.connect(b"")).collect());
    let more: Vec<TcpStream> = (0..400).map(|_| server.connect(b"")).collect();
    let turned_away = more.into_iter().rev().take(50).map(last_words).filter(|said| !said.is_empty());
    for said in turned_away {
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("too many connections"), "{said}");
    }
    drop(many);
    while server.get("/health").status != 200 {
        thread::sleep(Duration::from_millis(10));
    }
    meanwhile(&server, || ());
}

#[test]
fn what_is_no_request_is_refused_with_a_word() {
    let server = Server::start(&demo(), &[]);
    let fields: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let long = "y".repeat(1 << 20);
    let cases = [
        (format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n"), &[431][..]),
        (format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"), &[431]),
        (format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"), &[414, 431]),
        (long.clone(), &[400, 431]),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\r\n\r\n".to_owned(), &[400]),
        ("GET /health HTTP/1.1\r\nhost localhost\r\n\r\n".to_owned(), &[400]),
        ("GET /health HTTP/9.9\r\nhost: localhost\r\n\r\n".to_owned(), &[400]),
        ("GET /health HTTP/1.1\r\n\r\n".to_owned(), &[400]),
        ("GET /health HTTP/1.0\r\n\r\n".to_owned(), &[400]),
        ("GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n".to_owned(), &[400]),
        (format!("{POST}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"), &[400]),
        (format!("{POST}content-length: -1\r\n\r\n{{}}"), &[400]),
    ];
    meanwhile(&server, || {
        for (request, expected) in &cases {
            let ask = |ends: bool| {
                let stream = server.connect(request.as_bytes());
                // Who is still sending, or waits for more, has seen it.
                if ends {
                    let _ = stream.shutdown(Shutdown::Write);
                } else {
                    // The connection may stay open for the next request.
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                }
                Response::read(stream)
            };
            // The end of what a client sends may be seen before the request is answered, and the client be taken for gone; under
            // an emulator each time.
            let said = (0..5).map(|_| ask(true)).find(|said| said.status > 0);
            let said = said.unwrap_or_else(|| ask(!request.ends_with("\r\n\r\n")));
            let begin = &request[..request.len().min(60)];
            // Of a client that is still sending, the connection is cut.
            assert!(expected.contains(&said.status) || said.status == 0 && request.len() > 9000, "{begin}: {said:?}");
            if said.status > 0 {
                let error: Value = said.json()["error"].clone();
                assert!(error["message"].is_string() && error["type"].is_string(), "{begin}: {said:?}");
            }
        }
        for (line, headers, status) in [
            ("GET /v1/../../etc/passwd", vec![], 404),
            ("GET /v1/models/../../../etc/passwd", vec![], 404),
            ("GET /%2e%2e/%2e%2e/etc/passwd", vec![], 404),
            ("GET //etc/passwd", vec![], 404),
            ("GET /health", vec!["host: evil.example"], 403),
            ("GET /health", vec!["origin: http://evil.example"], 403),
            ("POST /v1/chat/completions", vec!["content-type: application/json", "sec-fetch-site: cross-site"], 403),
            ("POST /v1/chat/completions", vec!["content-type: text/plain"], 415),
            ("TRACE /health", vec![], 405),
            ("BREW /", vec![], 405),
        ] {
            let said = server.ask(line, &headers, "{}");
            assert_eq!(said.status, status, "{line}: {said:?}");
            assert!(said.json()["error"]["message"].is_string());
        }
    });
}

#[test]
fn a_half_closed_connection_is_over() {
    let server = Server::start(&demo(), &["--parallel", "1", "--ctx", "4096"]);
    meanwhile(&server, || {
        for _ in 0..20 {
            let half = server.chat_stream(&forever());
            half.shutdown(Shutdown::Write).unwrap();
            last_words(half);
        }
    });
}

#[test]
fn a_reader_that_takes_nothing_is_left() {
    let server = Server::start(&demo(), &HURRY);
    let mut held = server.connect(b"");
    held.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    meanwhile(&server, || {
        // More answers than the system keeps for a client; then their questions are not read any more either, and after a
        // while the connection is cut.
        let asked = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
        let start = Instant::now();
        loop {
            match held.write(&asked) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
            assert!(start.elapsed() < A_WHILE, "it is waited for");
        }
    });
    drop(held);
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let mut server = Server::start(&demo(), &[]);
    let long = format!("/{}", "x".repeat(8000));
    // More than any pipe holds.
    let n = (4 << 20) / 8000;
    meanwhile(&server, || (0..n).for_each(|_| assert_eq!(server.get(&long).status, 404)));
    let _ = server.child.kill();
    let mut said = Vec::new();
    server.said.read_to_end(&mut said).unwrap();
    assert!(said.len() > 4000);
}

#[test]
fn a_request_waits_for_a_seat_for_a_while_and_not_for_ever() {
    let scratch = Scratch::new("serve_hostile");
    // Three seconds, that is.
    let server =
        Server::start(&random(&scratch), &["--loop-guard", "off", "--parallel", "1", "--ctx", "16k", "--hurry", "200"]);
    let mut stream = server.chat_stream(&with(forever(), json!({"stream": true})));
    stream.read_exact(&mut [0; 64]).unwrap();
    let reader = thread::spawn(move || stream.read_to_end(&mut Vec::new()));
    let start = Instant::now();
    let late = server.chat(&user("b"));
    assert!(late.status == 503 && late.head.contains("retry-after: "), "{late:?}");
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(!reader.is_finished(), "the seat was free");
    drop(server);
    let _ = reader.join();
}

/// Ticks of the clock (1/100 s) that the process has computed for.
#[cfg(target_os = "linux")]
fn ticks(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, fields 14 and 15 of all.
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_nobody_asks_computes_nothing() {
    let server = Server::start(&demo(), &[]);
    let mut kept = server.connect(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    kept.read_exact(&mut [0; 12]).unwrap();
    server.chat(&user("a"));
    thread::sleep(Duration::from_millis(300));
    let before = ticks(&server);
    thread::sleep(Duration::from_secs(3));
    let computed = ticks(&server) - before;
    assert!(computed <= 2, "{computed} ticks in three idle seconds");
    drop(kept);
}
