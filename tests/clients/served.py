"""`qwen-edge serve` with a model, for as long as a check takes."""

import base64
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request

KEY = "key"
QUESTION = "What is 2 + 3?"
# A function, and a question that the demo model answers by calling it.
WEATHER = "get_weather"
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "City name"}},
    "required": ["city"],
}
WEATHER_QUESTION = "Weather in Zurich?"
# With these settings its answer repeats itself until the context is full.
ENDLESS = "Count from 1 to 9."
REPEATING = {"temperature": 0, "frequency_penalty": -2}


class Server:
    """A server at a free port, once its model is loaded."""

    def __init__(self, program, model, *options):
        self.model = model
        # Endless answers are asked for, and cut off.
        command = [program, "serve", model, "--port", "0", "--api-key", KEY, "--quiet", "--loop-guard", "off", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        found = re.fullmatch(r"listening on (http://\S+)\n", line)
        assert found, line
        self.address = found[1]
        self.base_url = f"{self.address}/v1"

    def __enter__(self):
        self.becomes_ready()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0

    def becomes_ready(self):
        end = time.monotonic() + 60
        while not self.is_healthy():
            assert self.process.poll() is None and time.monotonic() < end, "the server does not get ready"
            time.sleep(0.02)

    def is_healthy(self):
        try:
            return self.get("/health")[0] == 200
        except urllib.error.HTTPError as error:
            assert error.code == 503, error
            return False

    def get(self, path):
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()

    def value(self, name):
        """A value of /metrics."""
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)[1])

    def becomes_idle(self, seconds):
        """Whether no answer is in the making after so long."""
        end = time.monotonic() + seconds
        while self.value("llamacpp:requests_processing") > 0:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def picture(self, name):
        """One of the demo's pictures, in base64."""
        path = pathlib.Path(self.model).resolve().parent / "demo" / "images" / name
        return base64.b64encode(path.read_bytes()).decode()


def raises(kind, ask):
    """What `ask` raises, which is of this kind."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


def check_all(program, model, what, checks, client_of=None):
    """Runs checks of a client against a server of its own, each with what `client_of` makes of the server, if anything, and the
    server."""
    begun = time.monotonic()
    with Server(program, model, "--ctx", "8k", "--parallel", "4") as server:
        given = [client_of(server), server] if client_of else [server]
        for check in checks:
            check(*given)
    print(f"{what}: {len(checks)} checks passed in {time.monotonic() - begun:.0f} s")
