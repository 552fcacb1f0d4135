"""What drafting does for each task of the demo model: bench_drafts.py PROGRAM MODEL HELDOUT [--rounds 5] [--threads 2].

Two servers, one that drafts and one that does not, are asked the same questions in turn, greedily, and say how long they
wrote. For each task and for all: the tokens, and the median over the rounds of the time without drafts over that with
them. The texts must be the same.
"""

import argparse
import collections
import http.client
import json
import re
import statistics
import subprocess


class Server:
    def __init__(self, program, model, draft, threads):
        command = [program, "serve", model, "--port", "0", "-t", threads, "--parallel", "1", "--draft", draft, "-q"]
        self.process = subprocess.Popen([*command, "--no-mmproj"], stderr=subprocess.PIPE, text=True)
        port = int(re.search(r"http://127.0.0.1:(\d+)", self.process.stderr.readline())[1])
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while self.request("GET", "/health")[0] != 200:
            pass

    def request(self, method, path, body=None):
        self.connection.request(method, path, body, {"content-type": "application/json"})
        response = self.connection.getresponse()
        return response.status, response.read()

    def ask(self, item):
        """The text of an answer, its tokens and the milliseconds in which they were written."""
        thinking = {"enable_thinking": item["thinking"]}
        body = {"messages": item["messages"], "temperature": 0, "max_tokens": 400, "chat_template_kwargs": thinking}
        status, answer = self.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = json.loads(answer)
        assert status == 200, answer
        timings = answer["timings"]
        return answer["choices"][0]["message"], timings["predicted_n"], timings["predicted_ms"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("heldout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    items = [json.loads(line) for line in open(args.heldout)]
    items = [item for item in items if "tools" not in item and "image" not in item]
    servers = {draft: Server(args.program, args.model, draft, args.threads) for draft in ("off", "auto")}
    tokens, ratios = collections.Counter(), collections.defaultdict(list)
    for turn in range(args.rounds + 1):
        times = collections.defaultdict(collections.Counter)
        for i, item in enumerate(items):
            order = ("off", "auto") if (turn + i) % 2 else ("auto", "off")
            said = {draft: servers[draft].ask(item) for draft in order}
            assert said["off"][:2] == said["auto"][:2], item
            for draft in order:
                for task in (item["task"], "all"):
                    times[task][draft] += said[draft][2]
                    tokens[task] += said[draft][1] if turn == 0 and draft == "off" else 0
        # The first is a warm-up.
        if turn:
            for task, of in times.items():
                ratios[task].append(of["off"] / of["auto"])
    for server in servers.values():
        server.process.terminate()
        server.process.wait()
    for task in ratios:
        values = sorted(ratios[task])
        print(f"{task:16} {tokens[task]:6} tokens  {statistics.median(values):.3f} [{values[0]:.3f}, {values[-1]:.3f}]")


if __name__ == "__main__":
    main()
