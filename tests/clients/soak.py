"""Mixed requests over a long time: soak.py PROGRAM MODEL [--requests 10000] [--seconds 3600] [--log FILE].

Starts a server and sends it requests, evenly paced: whole and streamed answers, streams that are cut off, pictures,
several choices, bodies that are no JSON, long prompts. Every one must be answered as it should be, a fixed question
always in the same words, and the server's anonymous memory must not grow: its mean over the last tenth of the requests
may be at most 8 MB above that over the second tenth.
"""

import argparse
import base64
import http.client
import json
import pathlib
import queue
import random
import re
import threading
import time

import served

CLIENTS = 6
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {served.KEY}"}
ALLOWED_GROWTH = 8 << 20
PROBE = {"messages": [{"role": "user", "content": "What is 4 + 3?"}], "temperature": 0}
WORDS = "river stone seven lamp garden north paper blue winter clock".split()
CHECKED_TIME = 120


class Server(served.Server):
    def __init__(self, program, model, *options):
        super().__init__(program, model, "--parallel", "4", *options)
        # What else it says is of interest where it fails.
        self.said = []
        threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True).start()
        self.becomes_ready()

    def connect(self):
        return http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=CHECKED_TIME)

    def post(self, body):
        """The status and the body of a whole answer."""
        connection = self.connect()
        try:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", "/v1/chat/completions", body, HEADERS)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def cut(self, body, n_bytes):
        """Reads so many bytes of a stream, and leaves."""
        connection = self.connect()
        try:
            body = json.dumps({**body, "stream": True})
            connection.request("POST", "/v1/chat/completions", body, HEADERS)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.read(n_bytes)
        finally:
            connection.close()

    def anonymous_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def ask(content, **more):
    return {"messages": [{"role": "user", "content": content}], **more}


def shown(picture, **more):
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    return ask([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe the image."}], **more)


def chat(server, numbers, _):
    a, b = numbers.randrange(9), numbers.randrange(9)
    status, body = server.post(ask(f"What is {a} + {b}?", seed=numbers.randrange(1000)))
    assert status == 200 and json.loads(body)["choices"][0]["finish_reason"] in ("stop", "length"), body


def stream(server, numbers, _):
    body = ask(f"Count from 1 to {numbers.randrange(2, 9)}.", stream=True, temperature=0)
    status, body = server.post(body)
    assert status == 200 and body.endswith(b"data: [DONE]\n\n"), body


def cut(server, numbers, _):
    # An answer that repeats itself until the context is full.
    server.cut(ask(served.ENDLESS, **served.REPEATING), numbers.randrange(1, 30_000))


def cut_reading(server, numbers, _):
    connection = server.connect()
    body = json.dumps(ask(" ".join(numbers.choices(WORDS, k=1500)), max_tokens=4))
    connection.request("POST", "/v1/chat/completions", body, HEADERS)
    time.sleep(numbers.random() / 4)
    connection.close()


def picture(server, numbers, pictures):
    status, body = server.post(shown(numbers.choice(pictures), max_tokens=24, temperature=0))
    assert status == 200 and json.loads(body)["usage"]["prompt_tokens"] > 64, body


def broken_picture(server, numbers, pictures):
    whole = numbers.choice(pictures)
    status, body = server.post(shown(whole[: numbers.randrange(1, len(whole) * 3 // 4)]))
    assert status == 400 and b"error" in body, body


def choices(server, numbers, _):
    status, body = server.post(ask("Count from 1 to 5.", n=numbers.randrange(2, 4), seed=3, max_tokens=24))
    assert status == 200 and len(json.loads(body)["choices"]) > 1, body


def no_json(server, numbers, _):
    broken = [b'{"messages": [', b"[" * 5000, b"\xff\xfe", b"", b'{"messages": 7}', b'{"messages": [{"role": "user"}], "n": 99}']
    status, body = server.post(numbers.choice(broken))
    assert status == 400 and b"error" in body, body


def long_prompt(server, numbers, _):
    text = " ".join(numbers.choices(WORDS, k=numbers.randrange(500, 1500)))
    status, body = server.post(ask(text, max_tokens=4))
    assert status == 200, body


KINDS = {chat: 40, stream: 20, cut: 10, cut_reading: 3, picture: 8, broken_picture: 2, choices: 4, no_json: 8, long_prompt: 5}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--log", help="file for the kind, the seconds and the anonymous memory of every request")
    args = parser.parse_args()
    images = pathlib.Path(args.model).resolve().parent / "demo" / "images"
    pictures = [path.read_bytes() for path in sorted(images.glob("*.png"))]
    assert pictures, f"no pictures in {images}"

    server = Server(args.program, args.model, "--ctx", "4096")
    expected = server.post(PROBE)
    text = lambda answer: json.loads(answer[1])["choices"][0]["message"]["content"]
    lines, failures, lock = [], [], threading.Lock()
    jobs = queue.Queue()

    def work():
        while (job := jobs.get()) is not None:
            i, kind, start = job
            failure = None
            try:
                kind(server, random.Random(i), pictures)
                if i % 20 == 0:
                    answer = server.post(PROBE)
                    assert text(answer) == text(expected), f"the probe: {answer}"
            except Exception as error:  # Every kind of failure counts.
                failure = f"request {i}, {kind.__name__}: {type(error).__name__} {str(error)[:300]}"
            with lock:
                failures.extend([failure] if failure else [])
                memory = server.anonymous_bytes() if server.process.poll() is None else 0
                lines.append((kind.__name__, time.monotonic() - start, memory))

    workers = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for worker in workers:
        worker.start()
    order = random.Random(0)
    begun = time.monotonic()
    for i in range(args.requests):
        time.sleep(max(0, begun + i * args.seconds / args.requests - time.monotonic()))
        jobs.put((i, order.choices(list(KINDS), list(KINDS.values()))[0], time.monotonic()))
        if server.process.poll() is not None:
            break
        if i and i % max(1, args.requests // 20) == 0:
            print(f"{i} requests, {time.monotonic() - begun:.0f} s, {lines[-1][2] / 1e6:.1f} MB", flush=True)
    for _ in workers:
        jobs.put(None)
    for worker in workers:
        worker.join()

    if args.log:
        pathlib.Path(args.log).write_text("".join(f"{kind} {seconds:.3f} {memory}\n" for kind, seconds, memory in lines))
    alive = server.process.poll() is None
    panics = server.value("qwen_edge_panics_total") if alive else None
    server.process.terminate()
    status = server.process.wait(30)
    tenth = max(1, args.requests // 10)
    mean = lambda part: sum(memory for _, _, memory in part) / max(1, len(part))
    early, late = mean(lines[tenth : 2 * tenth]), mean(lines[-tenth:])
    print(f"{len(lines)} requests in {time.monotonic() - begun:.0f} s, {len(failures)} not answered as they should be")
    print(
        f"anonymous memory: requests {tenth} to {2 * tenth} {early / 1e6:.2f} MB, the last {tenth} {late / 1e6:.2f} MB, "
        f"growth {(late - early) / 1e6:.2f} MB"
    )
    for failure in failures[:20]:
        print(failure)
    assert alive and status == 0 and panics == 0, (alive, status, panics, server.said)
    assert len(lines) == args.requests and not failures
    assert late - early <= ALLOWED_GROWTH, "the memory grows"


if __name__ == "__main__":
    main()
