"""How a server does under load: bench_serve.py PROGRAM MODEL [--mmproj FILE] [--peer LLAMA_SERVER]
[--isa LEVEL] [--only rates|gaps].

Tokens a second of one client and of eight, greedy and sampled, and the conversations in a pass; the gaps between the
pieces of running answers while a prompt of 8,000 tokens is read, and while a picture of 1024 x 768 is looked at; the
time to the first token of a prompt of 32 tokens meanwhile. With a peer, its tokens a second on the same file, in turn.
"""

import argparse
import base64
import concurrent.futures
import http.client
import json
import os
import random
import re
import statistics
import struct
import subprocess
import threading
import time
import zlib

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
SAMPLED = {"temperature": 1.0, "top_k": 20, "top_p": 0.95}
WORDS = "river stone seven lamp garden north paper blue winter clock".split()


class Server:
    def __init__(self, command, port=None):
        pipes = {"stderr": subprocess.STDOUT, "stdout": subprocess.PIPE, "text": True, "errors": "replace"}
        self.process = subprocess.Popen(command, **pipes)
        self.is_peer = port is not None
        self.said, self.port, found = [], port, threading.Event()

        def listen():
            for line in self.process.stdout:
                self.said.append(line)
                if match := re.search(r"http://127.0.0.1:(\d+)", line):
                    self.port = self.port or int(match[1])
                    found.set()

        threading.Thread(target=listen, daemon=True).start()
        if not port:
            assert found.wait(60), self.said
        deadline = time.monotonic() + 120
        while self.status("/health") != 200:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said[-20:]
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
        return connection, connection.getresponse()

    def status(self, path):
        try:
            connection, response = self.request("GET", path)
            connection.close()
            return response.status
        except OSError:
            return None

    def metric(self, name):
        connection, response = self.request("GET", "/metrics")
        text = response.read().decode()
        connection.close()
        return float(re.search(rf"^{name} (\S+)$", text, re.M)[1])

    def whole(self, path, body):
        connection, response = self.request("POST", path, body)
        answer = response.read()
        connection.close()
        assert response.status == 200, answer
        return json.loads(answer)

    def tokens(self, body):
        """Writes an answer; its tokens. What random weights write the peer may refuse to give back when it is written:
        it then was as long as was asked for, for no end ends it."""
        if self.is_peer:
            connection, response = self.request("POST", TEXT, {**body, "ignore_eos": True})
            answer = response.read()
            connection.close()
            refused = response.status == 500 and b"does not match the expected" in answer
            return body["max_tokens"] if refused else json.loads(answer)["usage"]["completion_tokens"]
        return self.whole(TEXT, body)["usage"]["completion_tokens"]

    def stream(self, path, body, stop=None):
        """The times at which the pieces of an answer come."""
        times = []
        connection, response = self.request("POST", path, {**body, "stream": True})
        assert response.status == 200, response.read()
        for line in response:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                choice = (event.get("choices") or [{}])[0]
                if choice.get("text") or (choice.get("delta") or {}).get("content"):
                    times.append(time.monotonic())
            if stop and stop.is_set():
                break
        connection.close()
        return times


def prompt(seed, words):
    numbers = random.Random(seed)
    return " ".join(numbers.choice(WORDS) for _ in range(words))


def answer(seed, n, **more):
    return {"prompt": prompt(seed, 12), "max_tokens": n, "seed": seed, **more}


def rate(server, clients, n, **more):
    """Tokens a second of so many clients, each with one answer after the other."""
    done, lock = [0], threading.Lock()

    def client(seed):
        for i in range(2):
            n_token = server.tokens(answer(100 * seed + i, n, **more))
            with lock:
                done[0] += n_token

    start = time.monotonic()
    run_all([lambda seed=seed: client(seed) for seed in range(clients)])
    return done[0] / (time.monotonic() - start)


def run_all(work):
    with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()


def share(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def png(width, height):
    numbers = random.Random(0)
    row = lambda y: b"\0" + bytes((x * y // 97 + numbers.randrange(40)) % 256 for x in range(3 * width))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(row(y) for y in range(height)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def shown(picture):
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is this?"}]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 2}


def beside(server, writers, disturb):
    """The gaps of running answers while something else is done, and the first tokens of short prompts."""
    stop, gaps, firsts = threading.Event(), [], []
    window = [0.0, 0.0]
    runs = [[] for _ in range(writers)]

    def write(i):
        runs[i] = server.stream(TEXT, answer(i, 4000, temperature=0), stop)

    def ask_short():
        i = 0
        while not stop.is_set():
            start = time.monotonic()
            body = {"prompt": prompt(1000 + random.randrange(10**6), 24), "max_tokens": 1, "temperature": 0}
            server.whole(TEXT, body)
            firsts.append(time.monotonic() - start)
            i += 1
            time.sleep(0.3)

    def disturb_them():
        time.sleep(3)
        window[0] = time.monotonic()
        disturb()
        window[1] = time.monotonic()
        stop.set()

    run_all([disturb_them, ask_short] + [lambda i=i: write(i) for i in range(writers)])
    for times in runs:
        gaps += [b - a for a, b in zip(times, times[1:]) if b >= window[0] and a <= window[1]]
    return gaps, firsts, window[1] - window[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--mmproj")
    parser.add_argument("--peer")
    parser.add_argument("--isa")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=["rates", "gaps"])
    args = parser.parse_args()
    sight = ["--mmproj", args.mmproj] if args.mmproj else []
    isa = ["--isa", args.isa] if args.isa else []
    own = [args.program, "serve", args.model, "--port", "0", "-q", "--threads", str(os.cpu_count()), *isa]
    kinds = {"greedy": {"temperature": 0}, "sampled": SAMPLED}

    def rates(server):
        found = {}
        for name, more in kinds.items():
            rate(server, 1, 8, **more)
            for clients in (1, 8):
                before = [server.metric("llamacpp:n_decode_total"), 0] if not server.is_peer else None
                busy = server.metric("llamacpp:n_busy_slots_per_decode") * before[0] if before else 0
                found[name, clients] = [rate(server, clients, args.tokens, **more)]
                if before:
                    passes = server.metric("llamacpp:n_decode_total")
                    busy = server.metric("llamacpp:n_busy_slots_per_decode") * passes - busy
                    found[name, clients].append(busy / max(1, passes - before[0]))
        return found

    ours, peers = [], []
    n_round = 0 if args.only == "gaps" else args.rounds
    if args.peer and n_round:
        peer = [args.peer, "-m", args.model, "--device", "none", "-np", "8", "-c", str(8 * 2048)]
        peer += ["-t", str(os.cpu_count()), "--port", "18099", "--host", "127.0.0.1"]
        # Which instructions it has been built for, it says only when it is asked to say much.
        with Server([*peer, "-v"], 18099) as server:
            print("peer:", next(line.strip() for line in server.said if "AVX" in line), flush=True)
    for _ in range(n_round):
        with Server([*own, "--parallel", "8", "--ctx", "2048", "--no-mmproj"]) as server:
            ours.append(rates(server))
        if args.peer:
            with Server(peer, 18099) as server:
                peers.append(rates(server))
    median = lambda all, key, i=0: statistics.median(found[key][i] for found in all)
    for name in kinds if ours else []:
        one, eight = median(ours, (name, 1)), median(ours, (name, 8))
        line = f"{name}: 1 client {one:.1f} tok/s, 8 clients {eight:.1f} tok/s, {eight / one:.2f} x; "
        line += f"{median(ours, (name, 8), 1):.2f} conversations a pass"
        if peers:
            other = median(peers, (name, 8))
            line += f"; peer {median(peers, (name, 1)):.1f} and {other:.1f}, ratio {eight / other:.2f}"
        print(line, flush=True)

    if args.only == "rates":
        return
    with Server([*own, *sight, "--parallel", "10", "--ctx", "9000"]) as server:
        server.whole(TEXT, answer(1, 4))
        long = {"prompt": prompt(7, 8000), "max_tokens": 2, "temperature": 0}
        disturbances = {"a prompt of 8,000 tokens": lambda: server.whole(TEXT, long)}
        if args.mmproj:
            disturbances["a picture of 1024 x 768"] = lambda: server.whole(CHAT, shown(png(1024, 768)))
        for what, disturb in disturbances.items():
            gaps, firsts, took = beside(server, 4, disturb)
            print(
                f"beside {what} ({took:.1f} s): gaps of 4 answers, ms: median {1e3 * share(gaps, 0.5):.0f}, "
                f"p99 {1e3 * share(gaps, 0.99):.0f}, most {1e3 * max(gaps):.0f}; first token of a short prompt, ms: "
                f"median {1e3 * share(firsts, 0.5):.0f}, p95 {1e3 * share(firsts, 0.95):.0f} of {len(firsts)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
