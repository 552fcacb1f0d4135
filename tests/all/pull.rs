//! `qwen-edge pull` and a hub: what is fetched is right, whatever happens on the way, and nothing is fetched twice.

use crate::support::hub::{COMMIT, Framing, Hub, Reply, noise, sha256};
use crate::support::program::{emulated, program, told};
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const REPO: &str = "someone/Small-GGUF";
const FILE: &str = "small-Q4_K_M.gguf";
const BLOCK: u64 = 4 << 20;

/// The program with a home and a hub of its own.
fn at_home(home: &Scratch, hub: &Hub) -> Command {
    let mut command = program();
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", &home.0).env("HF_ENDPOINT", hub.endpoint()).env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    // Without it, Windows finds no network.
    command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
    command.stdin(Stdio::null());
    command
}

fn pull(home: &Scratch, hub: &Hub, args: &[&str]) -> Output {
    at_home(home, hub).arg("pull").args(args).output().unwrap()
}

/// The path that is printed last.
#[track_caller]
fn path(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8(output.stdout.clone()).unwrap().lines().last().unwrap().into()
}

/// What is said of a pull that fails.
#[track_caller]
fn refused(output: &Output, why: &str) {
    let told = told(output);
    assert!(output.status.code() == Some(1) && told.contains(why), "{why}: {told}");
    assert!(output.stdout.is_empty() && !told.contains("panicked"), "{told}");
}

fn cache(home: &Scratch) -> PathBuf {
    home.0.join(".cache/huggingface/hub").join(format!("models--{}", REPO.replace('/', "--")))
}

fn snapshot(home: &Scratch) -> PathBuf {
    cache(home).join("snapshots").join(COMMIT)
}

fn part(home: &Scratch, hub: &Hub, file: &str) -> PathBuf {
    cache(home).join("blobs").join(format!("{}.qwen-edge-part", hub.hash(file)))
}

/// The blocks of a part that are whole.
fn blocks(part: &Path, size: u64) -> Vec<u64> {
    let mut marks = Vec::new();
    if let Ok(mut file) = File::open(part) {
        // Without marks it is whole.
        if file.metadata().unwrap().len() == size {
            return (0..size.div_ceil(BLOCK)).collect();
        }
        file.seek(SeekFrom::Start(size)).unwrap();
        file.read_to_end(&mut marks).unwrap();
    }
    (0..).zip(marks).filter(|&(_, mark)| mark == 1).map(|(block, _)| block).collect()
}

fn small(n: usize) -> Hub {
    Hub::start(REPO, &[(FILE, noise(n, 1))])
}

#[test]
fn a_model_comes_with_what_belongs_to_it_and_lies_where_the_hubs_client_looks() {
    let home = Scratch::new("pull");
    let files = [
        ("BF16/small-BF16-00001-of-00002.gguf", noise(3000, 1)),
        ("BF16/small-BF16-00002-of-00002.gguf", noise(2000, 2)),
        ("mmproj-F16.gguf", noise(1000, 3)),
        ("mtp-small-Q8_0.gguf", noise(500, 4)),
        ("README.md", b"# Small".to_vec()),
        (FILE, noise(9 << 20, 5)),
    ];
    let hub = Hub::start(REPO, &files);
    let output = pull(&home, &hub, &[&format!("{REPO}:Q4_K_M")]);
    let path = path(&output);
    assert_eq!(path, snapshot(&home).join(FILE));
    for file in [FILE, "mmproj-F16.gguf", "mtp-small-Q8_0.gguf"] {
        let link = fs::read_link(snapshot(&home).join(file)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(hub.hash(file)));
        assert!(fs::read(snapshot(&home).join(file)).unwrap() == hub.bytes(file), "{file}");
    }
    assert_eq!(fs::read_to_string(cache(&home).join("refs/main")).unwrap(), COMMIT);
    assert!(told(&output).contains("small-Q4_K_M.gguf: 9 MB, checked"), "{}", told(&output));

    // A second time it is looked for and not fetched.
    let sent = hub.log().iter().filter(|request| request.of_content).count();
    let again = pull(&home, &hub, &[&format!("{REPO}:q4_k_m")]);
    assert!(told(&again).contains("up to date"), "{}", told(&again));
    assert_eq!(hub.log().iter().filter(|request| request.of_content).count(), sent);

    // All parts of a split file, deeper in the repository.
    let output = pull(&home, &hub, &[&format!("{REPO}:BF16")]);
    assert_eq!(self::path(&output), snapshot(&home).join(files[0].0));
    let link = fs::read_link(snapshot(&home).join(files[1].0)).unwrap();
    assert_eq!(link, Path::new("../../../blobs").join(hub.hash(files[1].0)));

    // Without the hub it is found too.
    let offline = at_home(&home, &hub).args(["pull", REPO]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(self::path(&offline).starts_with(snapshot(&home)), "{}", told(&offline));
    let list = at_home(&home, &hub).args(["list", "--json"]).output().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
    assert!(list.len() == 2 && list.iter().all(|entry| entry["complete"] == json!(true)), "{list:?}");
}

#[test]
fn whatever_ends_it_no_block_that_was_whole_is_fetched_again() {
    // The moments are those of a program that starts at once.
    if emulated() {
        return;
    }
    let size = 24 << 20;
    let hub = &small(size);
    hub.answer(|request, reply| match request.of_content {
        // A block takes some 20 ms.
        true => Reply { pace: Some((Duration::from_micros(250), 64 << 10)), ..reply },
        false => reply,
    });
    let mut random = noise(100, 7).into_iter().map(u64::from);
    let (mut interrupted, mut halves) = (0, 0);
    while interrupted < 50 {
        // A file is interrupted until it is there, and then another one.
        let home = Scratch::new("pull");
        let part = part(&home, hub, FILE);
        let (mut whole, before, sent, mut seen) = (Vec::new(), interrupted, hub.sent(), hub.log().len());
        loop {
            let mut command = at_home(&home, hub);
            let mut child = command.args(["pull", REPO]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            if interrupted < 50 {
                // At once, or while the file comes, however long it takes the program to start.
                let moment = random.next().unwrap();
                let is_asked = || hub.log()[seen..].iter().any(|request| request.of_content);
                while moment % 5 > 0 && !is_asked() && child.try_wait().unwrap().is_none() {
                    thread::sleep(Duration::from_millis(1));
                }
                thread::sleep(Duration::from_micros(250 * moment));
                child.kill().unwrap();
            }
            let done = child.wait().unwrap().success();
            let log = hub.log();
            let asked = log[seen..].iter().filter(|request| request.of_content);
            for range in asked.map(|request| request.range.clone().unwrap()) {
                assert!(!whole.contains(&(range.start / BLOCK)), "{range:?} was there: {whole:?}");
            }
            seen = log.len();
            if done {
                break;
            }
            interrupted += 1;
            // It may have been whole already, and have its place.
            if part.exists() {
                let now = blocks(&part, size as u64);
                assert!(whole.iter().all(|block| now.contains(block)));
                halves += usize::from(!now.is_empty());
                whole = now;
            }
        }
        assert!(fs::read(snapshot(&home).join(FILE)).unwrap() == hub.bytes(FILE) && !part.exists());
        let lost = hub.sent() - sent - size as u64;
        assert!(lost <= (interrupted - before) * 4 * BLOCK, "{lost} bytes in {} interruptions", interrupted - before);
    }
    // It was not only before the first block, or behind the last.
    assert!(halves >= 5, "{halves}");
}

#[test]
fn connections_that_are_cut_and_links_that_expire_are_taken_up_again() {
    let home = Scratch::new("pull");
    let hub = small(10 << 20);
    let (asked, expired) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let counted = expired.clone();
    let content = hub.content();
    hub.answer(move |request, reply| {
        let n = if request.of_content { asked.fetch_add(1, Ordering::Relaxed) } else { asked.load(Ordering::Relaxed) };
        // The first link is given out until the eighth request and good until the 24th: whoever has just got it can use it,
        // however long it takes until it does.
        let key = usize::from(n >= 8);
        match request.target.split_once("key=") {
            None if request.target.contains("/resolve/") => {
                Reply::of(302, "").with("location", format!("http://{content}/blob/{FILE}?key={key}"))
            }
            Some((_, "0")) if n >= 24 => {
                counted.fetch_add(1, Ordering::Relaxed);
                Reply::of(403, "expired")
            }
            Some(_) if n < 24 || n % 3 != 2 => Reply { cut: Some(256 << 10), ..reply },
            _ => reply,
        }
    });
    let path = path(&pull(&home, &hub, &[REPO]));
    assert!(fs::read(path).unwrap() == hub.bytes(FILE));
    assert!(expired.load(Ordering::Relaxed) > 0);
    // What was there before a cut was not asked for again.
    let mid =
        |request: &crate::support::hub::Request| request.range.as_ref().is_some_and(|range| range.start % BLOCK != 0);
    assert!(hub.log().iter().any(mid));
}

#[test]
fn a_server_without_ranges_and_bodies_in_any_form_will_do() {
    for framing in [Framing::Length, Framing::Chunks, Framing::Close] {
        let home = Scratch::new("pull");
        let hub = small((9 << 20) + 5);
        let bytes = Arc::new(hub.bytes(FILE).to_vec());
        hub.answer(move |request, reply| match (request.of_content, request.range.is_some()) {
            (true, true) => Reply { framing, ..Reply::of(200, bytes.to_vec()) },
            _ => Reply { framing, ..reply },
        });
        let path = path(&pull(&home, &hub, &[REPO]));
        assert!(fs::read(path).unwrap() == hub.bytes(FILE), "{framing:?}");
    }
}

#[test]
fn what_the_hub_refuses_is_told_in_a_sentence() {
    let home = Scratch::new("pull");
    let hub = small(1000);
    let cases: [(u16, Option<&str>, &str); 7] = [
        (401, Some("RepoNotFound"), "there is no repository someone/Small-GGUF at 127.0.0.1"),
        (404, Some("RepoNotFound"), "there is no repository"),
        (403, Some("GatedRepo"), "for those who accepted its terms, at http://127.0.0.1"),
        (401, None, "does not accept the token"),
        (403, None, "answers 403: not you"),
        (500, None, "answers 500"),
        (418, None, "answers 418"),
    ];
    for (status, code, why) in cases {
        hub.answer(move |_, _| {
            let reply = Reply::of(status, "{\"error\": \"not you\"}").with("retry-after", "0");
            code.iter().fold(reply, |reply, code| reply.with("x-error-code", code))
        });
        refused(&pull(&home, &hub, &[REPO]), why);
    }
    // Later it would go, and later is too late.
    hub.answer(|_, _| Reply::of(429, "").with("retry-after", "4000"));
    refused(&pull(&home, &hub, &[REPO]), "answers 429");
    hub.answer(|request, reply| if request.of_content { Reply::of(404, "") } else { reply });
    refused(&pull(&home, &hub, &[REPO]), "answers 404");
}

#[test]
fn a_busy_server_is_waited_for() {
    let home = Scratch::new("pull");
    let hub = small(6 << 20);
    let asked = Mutex::new(HashMap::new());
    hub.answer(move |request, reply| {
        let mut asked = asked.lock().unwrap();
        let n = asked.entry(format!("{} {:?}", request.target, request.range)).or_insert(0);
        *n += 1;
        match n {
            1 => Reply::of(429, "").with("retry-after", "0"),
            2 => Reply::of(503, "").with("ratelimit", "\"api\";r=0;t=0"),
            _ => reply,
        }
    });
    let path = path(&pull(&home, &hub, &[REPO]));
    assert!(fs::read(path).unwrap() == hub.bytes(FILE));
}

#[test]
fn other_bytes_than_were_announced_are_refused_and_leave_nothing_that_looks_like_a_model() {
    let size = 1000;
    let other = noise(size, 99);
    type Answer = Box<dyn Fn(Reply) -> Reply + Send + Sync>;
    let cases: Vec<(&str, Answer)> = vec![
        ("is not the file that was announced", Box::new(move |reply| Reply { body: other.clone(), ..reply })),
        (
            "a file of 1001 bytes, expected 1000",
            Box::new(|_| Reply::of(206, [0; 1000]).with("content-range", "bytes 0-999/1001")),
        ),
        ("another range", Box::new(|_| Reply::of(206, [0; 10]).with("content-range", "bytes 0-9/1000"))),
        ("10 bytes where 1000", Box::new(|_| Reply::of(206, [0; 10]).with("content-range", "bytes 0-999/1000"))),
        ("no range", Box::new(|_| Reply::of(206, [0; 1000]))),
        ("a file of 3 bytes", Box::new(|_| Reply::of(200, "abc"))),
        ("more bytes than", Box::new(|_| Reply { framing: Framing::Chunks, ..Reply::of(200, vec![0; 1001]) })),
        ("no length", Box::new(|_| Reply::of(206, "").with("content-length", "-1"))),
        ("that was not asked for", Box::new(|_| Reply::of(200, "").with("transfer-encoding", "gzip"))),
        ("a head that is too long", Box::new(|reply| reply.with("x", "y".repeat(70_000)))),
        ("not HTTP", Box::new(|reply| reply.with("x y", "z"))),
        ("nowhere", Box::new(|_| Reply::of(302, ""))),
        ("one redirect after another", Box::new(|_| Reply::of(302, "").with("location", "/blob/x"))),
        // Not connected to.
        ("http://1.1.1.1 is not encrypted", Box::new(|_| Reply::of(302, "").with("location", "http://1.1.1.1/x"))),
        ("is no address", Box::new(|_| Reply::of(302, "").with("location", "file:///etc/passwd"))),
    ];
    for (why, answer) in cases {
        let home = Scratch::new("pull");
        let hub = small(size);
        hub.answer(move |request, reply| if request.of_content { answer(reply) } else { reply });
        refused(&pull(&home, &hub, &[REPO]), why);
        assert!(!snapshot(&home).exists() && !cache(&home).join("refs").exists(), "{why}");
        let part = part(&home, &hub, FILE);
        assert!(!part.exists() || blocks(&part, size as u64).is_empty(), "{why}");
    }
}

#[test]
fn a_listing_cannot_lead_out_of_the_cache() {
    let home = Scratch::new("pull");
    let hub = small(1000);
    let lfs = json!({"oid": "a".repeat(64), "size": 10});
    for (entry, why) in [
        (json!({"type": "file", "path": "../../x-Q4_0.gguf", "lfs": lfs}), "a file is called"),
        (json!({"type": "file", "path": "/etc/x-Q4_0.gguf", "lfs": lfs}), "a file is called"),
        (json!({"type": "file", "path": "a/../b-Q4_0.gguf", "lfs": lfs}), "a file is called"),
        (json!({"type": "file", "path": "a\\b-Q4_0.gguf", "lfs": lfs}), "a file is called"),
        (json!({"type": "file", "path": "a\u{1b}[2J-Q4_0.gguf", "lfs": lfs}), "a file is called"),
        (json!({"type": "file", "path": "b-Q4_0.gguf", "lfs": {"oid": "../../x", "size": 10}}), "a hash that is none"),
        (json!({"type": "symlink", "path": "b-Q4_0.gguf", "lfs": lfs}), "has no GGUF file"),
        (json!({"type": "file", "path": "b-Q4_0.gguf", "size": 10}), "does not say the SHA-256"),
        (
            json!({"type": "file", "path": "b-Q4_0.gguf", "lfs": {"oid": "a".repeat(64), "size": 9_000_000_000_000_000_u64}}),
            "bytes are needed",
        ),
        (json!({"type": "file", "path": "b-Q4_0.gguf", "lfs": {"oid": "a".repeat(64), "size": -1}}), "makes no sense"),
        (json!("x"), "makes no sense"),
    ] {
        let listing = json!([entry]);
        hub.answer(move |request, reply| if request.target.contains("/tree/") { Reply::json(&listing) } else { reply });
        refused(&pull(&home, &hub, &[&format!("{REPO}:Q4_0")]), why);
    }
    for commit in ["../../../x", "0123"] {
        hub.answer(move |_, _| Reply::json(&json!({"branches": [{"name": "main", "targetCommit": commit}]})));
        refused(&pull(&home, &hub, &[REPO]), "a commit that is none");
    }
    // Endless.
    hub.answer(
        |request, reply| if request.target.contains("/tree/") { Reply::of(200, vec![b' '; 17 << 20]) } else { reply },
    );
    refused(&pull(&home, &hub, &[REPO]), "more than");
    hub.answer(|_, reply| reply.with("link", "<http://127.0.0.1:1/x?cursor=1>; rel=\"next\""));
    refused(&pull(&home, &hub, &[REPO]), "it has no end");
    assert_eq!(home.files(), [] as [&str; 0]);
}

#[test]
fn a_listing_of_several_pages_is_read_to_its_end() {
    let home = Scratch::new("pull");
    let hub = small(1000);
    let address = hub.address;
    hub.answer(move |request, reply| match request.target.as_str() {
        target if target.ends_with("cursor=2") => reply,
        target if target.contains("/tree/") => {
            let next = format!("<http://{address}{}&cursor=2>; rel=\"next\"", target);
            Reply::json(&json!([{"type": "directory", "path": "x.gguf"}])).with("link", next)
        }
        _ => reply,
    });
    path(&pull(&home, &hub, &[REPO]));
}

#[test]
fn a_token_is_for_the_hub_alone_and_a_renamed_repository_is_followed() {
    let home = Scratch::new("pull");
    let hub = small(1000);
    hub.answer(|request, reply| match request.target.strip_prefix("/api/models/old/name") {
        Some(rest) => Reply::of(307, "").with("location", format!("/api/models/{REPO}{rest}")),
        None => reply,
    });
    let output = at_home(&home, &hub).args(["pull", "old/name"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    assert!(path(&output).to_str().unwrap().contains("models--old--name"), "{}", told(&output));
    assert!(told(&output).contains("old/name is called someone/Small-GGUF now"), "{}", told(&output));
    for request in hub.log().iter() {
        let expected = (!request.of_content).then_some("Bearer hf_secret");
        assert_eq!(request.token.as_deref(), expected, "{request:?}");
    }
    assert!(hub.log().iter().any(|request| request.of_content));
}

#[test]
fn a_body_that_stalls_is_given_up_in_the_end() {
    let home = Scratch::new("pull");
    let hub = small(100_000);
    use qwen_edge::fetch::client::{Client, Settings};
    use qwen_edge::fetch::download::{Wanted, fetch};
    use qwen_edge::fetch::part::Part;
    use qwen_edge::fetch::url::Url;
    let endpoint = Url::parse(&hub.endpoint()).unwrap();
    let url = Url::parse(&format!("{}/{REPO}/resolve/{COMMIT}/{FILE}", hub.endpoint())).unwrap();
    let client = Client::new(Settings { endpoint, token: None, patience: Duration::from_millis(20) });
    let wanted = Wanted { url, size: 100_000, sha256: hub.hash(FILE).to_owned() };
    for pace in [(Duration::from_millis(60), 100), (Duration::from_millis(1), 1)] {
        hub.answer(move |request, reply| if request.of_content { Reply { pace: Some(pace), ..reply } } else { reply });
        let start = Instant::now();
        let part = Part::open(&home.0.join("part"), 100_000).unwrap();
        let error = fetch(&client, &wanted, part, &home.0.join("place"), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("nothing came for too long"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn two_pulls_of_one_model_fetch_it_once() {
    let home = Scratch::new("pull");
    let hub = small(12 << 20);
    hub.answer(|request, reply| match request.of_content {
        // So that the second one begins while the first one fetches, however long a program takes to start.
        true => Reply { pace: Some((Duration::from_millis(8), 64 << 10)), ..reply },
        false => reply,
    });
    let start =
        || at_home(&home, &hub).args(["pull", REPO]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let paths = both.each_ref().map(path);
    assert_eq!(paths[0], paths[1]);
    assert!(fs::read(&paths[0]).unwrap() == hub.bytes(FILE));
    assert!(both.iter().any(|output| told(output).contains("another process is fetching it")), "{}", told(&both[0]));
    assert_eq!(hub.log().iter().filter(|request| request.of_content).count(), 3);
}

#[test]
#[cfg(unix)]
fn ctrl_c_keeps_what_is_there() {
    use std::os::unix::process::ExitStatusExt;
    let home = Scratch::new("pull");
    let size = 16 << 20;
    let hub = small(size);
    hub.answer(|request, reply| match &request.range {
        Some(range) if request.of_content && range.start > 0 => {
            Reply { pace: Some((Duration::from_millis(20), 4096)), ..reply }
        }
        _ => reply,
    });
    let mut child =
        at_home(&home, &hub).args(["pull", REPO]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let part = part(&home, &hub, FILE);
    while blocks(&part, size as u64).is_empty() {
        assert!(child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    // A shell calls that 130.
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert_eq!(blocks(&part, size as u64), [0]);
}

#[test]
fn damage_to_a_part_is_found_and_mended() {
    let home = Scratch::new("pull");
    let size = 5 << 20;
    let hub = small(size);
    let part = part(&home, &hub, FILE);
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    let mut damaged = vec![0; size + 2];
    damaged[size] = 1;
    fs::write(&part, damaged).unwrap();
    // Somebody else's.
    let incomplete = part.with_file_name(format!("{}.0123abcd.incomplete", hub.hash(FILE)));
    fs::write(&incomplete, "x").unwrap();
    let output = pull(&home, &hub, &[REPO]);
    assert!(fs::read(path(&output)).unwrap() == hub.bytes(FILE));
    assert!(told(&output).contains("it is fetched anew"), "{}", told(&output));
    assert_eq!(fs::read(&incomplete).unwrap(), b"x");
}

#[test]
#[cfg(unix)]
fn a_disk_that_takes_no_more_is_told() {
    let home = Scratch::new("pull");
    let hub = small(9 << 20);
    // Of 512 bytes each: what is larger cannot be written.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let inner = at_home(&home, &hub);
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(inner.get_program()).args(inner.get_args()).args(["pull", REPO]);
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().unwrap();
    refused(&output, "File too large");
    assert!(!snapshot(&home).exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_without_room_is_told_before_anything_is_fetched() {
    // A disk of its own, where one may be made.
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount"]);
        command
    };
    if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let home = Scratch::new("pull");
    let hub = small(9 << 20);
    let inner = at_home(&home, &hub);
    for (room, fits) in [("6m", false), ("12m", true)] {
        let script = format!("mount -t tmpfs -o size={room} none \"$HOME\" && exec \"$0\" \"$@\"");
        let mut command = unshare();
        command.args(["sh", "-c", &script]).arg(inner.get_program()).args(inner.get_args()).args(["pull", REPO]);
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.stdin(Stdio::null()).output().unwrap();
        if fits {
            path(&output);
        } else {
            refused(&output, "bytes are needed");
            assert!(hub.log().iter().all(|request| !request.of_content));
        }
    }
}

#[test]
fn a_folder_of_ones_own_has_the_files_and_nothing_else() {
    let home = Scratch::new("pull");
    let hub = Hub::start(REPO, &[(FILE, noise(5 << 20, 1)), ("mmproj-F16.gguf", noise(100, 2))]);
    let dir = home.0.join("models");
    let args = ["--dir", dir.to_str().unwrap(), REPO];
    assert_eq!(path(&pull(&home, &hub, &args)), dir.join(FILE));
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["mmproj-F16.gguf", FILE]);
    // Something else of the same name and length is no reason to believe it is that.
    fs::write(dir.join("mmproj-F16.gguf"), [0; 100]).unwrap();
    path(&pull(&home, &hub, &args));
    assert!(fs::read(dir.join("mmproj-F16.gguf")).unwrap() == hub.bytes("mmproj-F16.gguf"));
    assert_eq!((names().len(), sha256(&fs::read(dir.join(FILE)).unwrap())), (2, hub.hash(FILE).to_owned()));
}

#[test]
fn addresses_and_hashes_are_printed_for_other_programs() {
    let home = Scratch::new("pull");
    let hub = small(1000);
    let table = home.write("table", format!("small:one {REPO}:Q4_K_M\n"));
    let output = at_home(&home, &hub)
        .args(["pull", "--print", "small:one"])
        .env("QWEN_EDGE_MODELS_TABLE", table)
        .output()
        .unwrap();
    let line = format!("{}/{REPO}/resolve/{COMMIT}/{FILE} {} 1000\n", hub.endpoint(), hub.hash(FILE));
    assert_eq!(String::from_utf8_lossy(&output.stdout), line, "{}", told(&output));
    assert!(!cache(&home).exists());
    for (name, why) in [
        ("m.gguf", "is the name of a file"),
        ("small:one", "is not in the table"),
        ("ollama:a:b", "ollama pull a:b"),
        (&format!("{REPO}:Q8_0"), "has no GGUF file of Q8_0; there are Q4_K_M"),
    ] {
        refused(&pull(&home, &hub, &[name]), why);
    }
}

/// The demo model at a hub.
fn demo() -> Hub {
    let read = |file: &str| fs::read(Path::new("models").join(file)).unwrap();
    Hub::start(REPO, &[("small-Q8_0.gguf", read("demo-q8_0.gguf")), (FILE, read("demo-q4_k_m.gguf"))])
}

#[test]
fn run_fetches_what_is_not_there_if_it_is_told_to() {
    let home = Scratch::new("pull");
    let hub = demo();
    let run = |more: &[&str]| {
        let line = ["run", REPO, "-p", "What is 2 + 3?", "--greedy", "-n", "8", "--ctx", "256"];
        at_home(&home, &hub).args(line).args(more).output().unwrap()
    };
    refused(&run(&[]), &format!("{REPO} is not on this machine: qwen-edge pull {REPO} fetches it"));
    assert!(hub.log().is_empty());
    let output = run(&["--yes"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2+3=5", "{}", told(&output));
    assert!(
        told(&output).contains(&format!("of 2 files, {REPO}:Q8_0 is taken: the best that fits")),
        "{}",
        told(&output)
    );
    // The next time it is here.
    let asked = hub.log().len();
    assert_eq!(String::from_utf8_lossy(&run(&[]).stdout).trim(), "2+3=5");
    assert_eq!(hub.log().len(), asked);
    // Not where nobody may be asked.
    let offline =
        at_home(&home, &hub).args(["run", "a/b", "--yes", "-p", "x"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    refused(&offline, "a/b is not on this machine");
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_it_asks() {
    use crate::support::terminal::reply;
    let home = Scratch::new("pull");
    let hub = demo();
    let mut command = at_home(&home, &hub);
    command.args(["run", REPO, "-p", "What is 2 + 3?", "--greedy", "-n", "8", "--ctx", "256"]);
    let (status, shown) = reply(&mut command, "[y/N]", "n");
    assert!(status == Some(1) && shown.contains("is not on this machine. Fetch someone/Small-GGUF:Q8_0: "), "{shown}");
    assert!(!cache(&home).exists());
    let mut command = at_home(&home, &hub);
    command.args(["run", REPO, "-p", "What is 2 + 3?", "--greedy", "-n", "8", "--ctx", "256"]);
    let (status, shown) = reply(&mut command, "[y/N]", "y");
    assert!(status == Some(0) && shown.contains("2+3=5") && shown.contains("checked"), "{shown}");
}

#[test]
fn what_was_fetched_is_removed_and_nothing_else() {
    let home = Scratch::new("pull");
    let files = [(FILE, noise(1000, 1)), ("small-Q8_0.gguf", noise(2000, 2)), ("mmproj-F16.gguf", noise(100, 3))];
    let hub = Hub::start(REPO, &files);
    let rm = |args: &[&str]| at_home(&home, &hub).arg("rm").args(args).output().unwrap();
    let [small, large] = ["Q4_K_M", "Q8_0"].map(|quant| format!("{REPO}:{quant}"));
    refused(&rm(&[&small]), "is not on this machine");
    path(&pull(&home, &hub, &[&small]));
    path(&pull(&home, &hub, &[&large]));
    refused(&rm(&[REPO]), &format!("may be {small} or {large}: say which"));
    refused(&rm(&[&small]), "which other programs use too: --yes removes it");
    assert!(rm(&[&small, "--yes"]).status.success());
    // The vision file is the other model's as well.
    let left =
        |file: &str| snapshot(&home).join(file).exists() && cache(&home).join("blobs").join(hub.hash(file)).exists();
    assert_eq!(files.each_ref().map(|(file, _)| left(file)), [false, true, true]);
    // One that somebody else fetched stays.
    let mark = cache(&home).join("blobs").join(format!("{}.qwen-edge", hub.hash("small-Q8_0.gguf")));
    fs::remove_file(&mark).unwrap();
    refused(&rm(&[&large, "--yes"]), "was not fetched by this program and stays");
    fs::write(&mark, "").unwrap();
    assert!(rm(&[&large, "--yes"]).status.success());
    assert!(!cache(&home).exists());
    // Another program's store.
    let studio = home.0.join(".lmstudio/models/someone/Other-GGUF");
    fs::create_dir_all(&studio).unwrap();
    fs::write(studio.join("other-Q8_0.gguf"), "x").unwrap();
    refused(&rm(&["someone/Other-GGUF", "--yes"]), "is in the store of lmstudio, which alone removes it");
    assert!(studio.join("other-Q8_0.gguf").exists());
}

fn list(home: &Scratch, hub: &Hub) -> Vec<Value> {
    let output = at_home(home, hub).args(["list", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_was_begun_is_listed_and_goes_on_or_is_removed() {
    let home = Scratch::new("pull");
    let hub = demo();
    let [small, large] = ["Q4_K_M", "Q8_0"].map(|quant| format!("{REPO}:{quant}"));
    let rm = |name: &str| at_home(&home, &hub).args(["rm", "--yes", name]).output().unwrap();
    // Nothing of it is whole.
    let begin = |file: &str| {
        let part = part(&home, &hub, file);
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, [7; 8192]).unwrap();
        part
    };
    let begun = begin(FILE);
    let listed = list(&home, &hub);
    assert_eq!((listed.len(), &listed[0]["name"], &listed[0]["complete"]), (1, &json!(REPO), &json!(false)));
    assert_eq!(listed[0]["path"], json!(begun.to_str().unwrap()));
    let run = |more: &[&str]| {
        let line = ["run", REPO, "-p", "What is 2 + 3?", "--greedy", "-n", "8", "--ctx", "256"];
        at_home(&home, &hub).args(line).args(more).output().unwrap()
    };
    refused(&run(&[]), &format!("{REPO} is not complete"));
    // One that somebody fetches is left alone.
    let lock = begun.ancestors().nth(3).unwrap().join(".locks").join(cache(&home).file_name().unwrap());
    fs::create_dir_all(&lock).unwrap();
    let lock = File::create(lock.join(format!("{}.lock", hub.hash(FILE)))).unwrap();
    lock.lock().unwrap();
    refused(&rm(REPO), "another process is fetching");
    drop(lock);
    assert!(rm(REPO).status.success() && !cache(&home).exists());
    // With others there it stays, for it may be wanted yet, and goes with the last.
    begin("small-Q8_0.gguf");
    path(&pull(&home, &hub, &[&small]));
    let begun = begin("small-Q8_0.gguf");
    path(&pull(&home, &hub, &[&large]));
    assert!(!begun.exists());
    let begun = begin("small-Q8_0.gguf");
    assert!(rm(&small).status.success() && begun.exists());
    assert!(rm(REPO).status.success() && !cache(&home).exists());
    begin("small-Q8_0.gguf");
    assert_eq!(String::from_utf8_lossy(&run(&["--yes"]).stdout).trim(), "2+3=5");
}

#[test]
fn where_the_hubs_cache_cannot_be_written_to_this_programs_own_folder_is_taken() {
    let home = Scratch::new("pull");
    let hub = Hub::start(REPO, &[(FILE, noise(5 << 20, 1)), ("mmproj-F16.gguf", noise(100, 2))]);
    let in_the_way = home.write("file", "");
    let at_home = || {
        let mut command = at_home(&home, &hub);
        command.env("HF_HUB_CACHE", in_the_way.join("hub")).env("QWEN_EDGE_HOME", home.0.join("own"));
        command
    };
    let folder = home.0.join("own/models").join(REPO);
    let pull = || at_home().args(["pull", REPO]).output().unwrap();
    let output = pull();
    assert_eq!(path(&output), folder.join(FILE));
    assert!(told(&output).contains("the hub's cache cannot be written to"), "{}", told(&output));
    assert!(fs::read(folder.join(FILE)).unwrap() == hub.bytes(FILE));
    let content = || hub.log().iter().filter(|request| request.of_content).count();
    let fetched = content();
    assert!(told(&pull()).contains("up to date") && content() == fetched);
    // Of another hash it is another file.
    fs::write(folder.join(format!("{FILE}.qwen-edge")), "0").unwrap();
    path(&pull());
    assert!(content() > fetched);
    let listed = at_home().args(["list", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["source"]), (&json!(format!("{REPO}:Q4_K_M")), &json!("qwen-edge")));
    // A part that was left.
    fs::write(folder.join("small-Q8_0.gguf.qwen-edge-part"), "x").unwrap();
    let output = at_home().args(["rm", &format!("{REPO}:Q4_K_M")]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(!home.0.join("own/models/someone").exists());
}

#[test]
fn a_new_commit_keeps_what_is_the_same_in_it() {
    let home = Scratch::new("pull");
    let hub = Hub::start(REPO, &[(FILE, noise(1000, 1)), ("small-Q8_0.gguf", noise(2000, 2))]);
    let [small, large] = ["Q4_K_M", "Q8_0"].map(|quant| format!("{REPO}:{quant}"));
    let old = path(&pull(&home, &hub, &[&small]));
    path(&pull(&home, &hub, &[&large]));
    let commit = "f".repeat(40);
    let of_tree = hub.tree();
    hub.answer(move |request, reply| match request.target.as_str() {
        target if target.ends_with("/refs") => {
            Reply::json(&json!({"branches": [{"name": "main", "targetCommit": commit}]}))
        }
        target if target.contains("/tree/") => Reply::json(&of_tree),
        _ => reply,
    });
    let sent = hub.log().iter().filter(|request| request.of_content).count();
    let new = path(&pull(&home, &hub, &[&small]));
    assert!(new != old && fs::read(&new).unwrap() == hub.bytes(FILE));
    assert!(new.with_file_name("small-Q8_0.gguf").exists());
    assert_eq!(hub.log().iter().filter(|request| request.of_content).count(), sent);
}

/// Whether TLS can be tried here: the hub's is the program's own, which some CPUs lack.
fn has_tls() -> bool {
    qwen_edge::fetch::tls::is_built_in()
}

/// Pulls with TLS, by the program's own and by the system's `curl` where there is one.
fn pull_tls(home: &Scratch, hub: &Hub, authority: &str) -> Vec<Output> {
    let curl = Command::new("curl").arg("--version").output().is_ok();
    let ways = [("", true), ("curl", curl)].into_iter().filter(|&(_, there)| there);
    let pulled = ways.map(|(way, _)| {
        let _ = fs::remove_dir_all(cache(home));
        let mut command = at_home(home, hub);
        command.args(["pull", REPO]).env("QWEN_EDGE_TLS", way).env("SSL_CERT_FILE", authority);
        let output = command.output().unwrap();
        assert_eq!(told(&output).contains("the system's curl is asked for TLS"), way == "curl", "{}", told(&output));
        output
    });
    pulled.collect()
}

#[test]
fn a_server_that_the_authority_vouches_for_is_believed() {
    if !has_tls() {
        return;
    }
    let home = Scratch::new("pull");
    let hub = Hub::start_tls(REPO, &[(FILE, noise(9 << 20, 1))], "here");
    for output in pull_tls(&home, &hub, "tests/hub/authority.pem") {
        assert!(fs::read(path(&output)).unwrap() == hub.bytes(FILE));
    }
    // The name of the host counts, and not the address alone.
    let endpoint = format!("https://localhost:{}", hub.address.port());
    let mut command = at_home(&home, &hub);
    command.args(["pull", REPO]).env("SSL_CERT_FILE", "tests/hub/authority.pem").env("HF_ENDPOINT", endpoint);
    path(&command.output().unwrap());
}

#[test]
fn a_server_that_nobody_vouches_for_or_that_is_another_is_not_believed() {
    if !has_tls() {
        return;
    }
    let home = Scratch::new("pull");
    let files = [(FILE, noise(1000, 1))];
    let (here, elsewhere) = (Hub::start_tls(REPO, &files, "here"), Hub::start_tls(REPO, &files, "elsewhere"));
    for (hub, authority) in [(&here, ""), (&here, "tests/hub/elsewhere.pem"), (&elsewhere, "tests/hub/authority.pem")] {
        for output in pull_tls(&home, hub, authority) {
            refused(&output, "cert");
            // Tried once, and told nothing.
            assert!(hub.log().is_empty() && !told(&output).contains("trying again"), "{}", told(&output));
        }
    }
    // Nor one that does not speak TLS at all.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", plain.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in plain.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let output = at_home(&home, &here).args(["pull", REPO]).env("HF_ENDPOINT", endpoint).output().unwrap();
    refused(&output, "cannot connect to 127.0.0.1");
}

/// A proxy that connects to whom it is asked to, and how often it was asked.
fn proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = asked.clone();
    thread::spawn(move || {
        for ours in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut reader = BufReader::new(ours.try_clone().unwrap());
            let mut lines = reader.by_ref().lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let Some(Ok(theirs)) = first.split(' ').nth(1).map(TcpStream::connect) else { continue };
            (&ours).write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let ends = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut reader, &mut &theirs));
            thread::spawn(move || std::io::copy(&mut &ends.1, &mut &ends.0));
        }
    });
    (address, asked)
}

#[test]
fn a_proxy_is_gone_through_with_the_systems_curl() {
    if !has_tls() || Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let home = Scratch::new("pull");
    let hub = Hub::start_tls(REPO, &[(FILE, noise(5 << 20, 1))], "here");
    let (address, asked) = proxy();
    let mut command = at_home(&home, &hub);
    command.args(["pull", REPO]).env("HTTPS_PROXY", format!("http://{address}"));
    let output = command.env("SSL_CERT_FILE", "tests/hub/authority.pem").output().unwrap();
    assert!(fs::read(path(&output)).unwrap() == hub.bytes(FILE));
    assert!(told(&output).contains("curl is asked for TLS: there is a proxy"), "{}", told(&output));
    // Refs, the listing, and for each of two blocks the hub's and the other server.
    assert!((4..=6).contains(&asked.load(Ordering::Relaxed)), "{asked:?}");
}

/// See `make test-clients`, which names the Python that has the hub's client.
#[test]
#[ignore = "needs the hub's client for Python: make test-clients"]
fn the_hubs_own_client_and_this_program_share_a_cache() {
    let Some(python) = std::env::var_os("QWEN_EDGE_PYTHON") else { return };
    let home = Scratch::new("pull");
    let hub = demo();
    let mut command = Command::new(python);
    command.env("HOME", &home.0).env("HF_ENDPOINT", hub.endpoint()).env_remove("HF_HOME").env_remove("HF_TOKEN");
    command.args(["tests/clients/with_huggingface.py", env!("CARGO_BIN_EXE_qwen-edge"), REPO, "small-Q8_0.gguf"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    // Each of them fetched it once.
    let fetched = hub.log().iter().filter(|request| request.of_content && request.method == "GET").count();
    let blocks = hub.bytes("small-Q8_0.gguf").len().div_ceil(BLOCK as usize);
    assert_eq!(fetched, 1 + blocks);
}
