#!/usr/bin/env python3
"""Runs the static programs as Android lets its apps run them.

    test_android.py native PROGRAM     an x86-64 program of musl, under a seccomp filter that ends it with SIGSYS at any
                                       system call that is not in tests/android/app_system_calls.txt
    test_android.py traced PROGRAM     an aarch64 program: every system call that it makes under an emulator is in the list

It answers from a prompt, from a pipe, with a picture and with --mlock and --no-mmap; reads ahead; keeps prompts in a folder
and takes them up; writes a file; lists models; and serves a question over HTTP.
"""
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models/demo-q8_0.gguf"

# x86-64 has older calls for what arm64 has one for: they are allowed by the name that they have there.
OLDER = {
    "open": "openat", "stat": "newfstatat", "lstat": "newfstatat", "poll": "ppoll", "access": "faccessat",
    "readlink": "readlinkat", "unlink": "unlinkat", "rmdir": "unlinkat", "rename": "renameat", "mkdir": "mkdirat",
    "pipe": "pipe2", "dup2": "dup3", "fork": "clone", "vfork": "clone", "epoll_wait": "epoll_pwait",
    "epoll_create": "epoll_create1", "select": "pselect6", "chmod": "fchmodat", "link": "linkat", "symlink": "symlinkat",
}


def allowed():
    lines = (ROOT / "tests/android/app_system_calls.txt").read_text().splitlines()
    return {name for line in lines if not line.startswith("#") for name in line.split()}


def numbers(names):
    """The numbers of calls on x86-64, from the system's own header."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    known = {name: int(n) for name, n in re.findall(r"#define __NR_(\w+) (\d+)", header)}
    # How this machine keeps the place of a thread's variables; arm64 has a register for it.
    yes = names | {old for old, new in OLDER.items() if new in names} | {"arch_prctl"}
    return sorted(known[name] for name in yes if name in known)


def filter_calls(calls):
    """Installs the filter for this process and those that it becomes."""
    ALLOW, TRAP, KILL = 0x7FFF0000, 0x00030000, 0x80000000
    LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
    X86_64 = 0xC000003E
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    for n in calls:
        code += [(EQUAL, 0, 1, n), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, TRAP))
    program = b"".join(struct.pack("<HBBI", *step) for step in code)
    held = ctypes.create_string_buffer(program)
    head = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.create_string_buffer(head), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


class Native:
    def __init__(self, program):
        self.command = [program]
        self.calls = numbers(allowed())

    def popen(self, arguments, **more):
        # The filter is for all that follows; Python would close files by a call that is not in the list.
        more["close_fds"] = False
        return subprocess.Popen([*self.command, *arguments], preexec_fn=lambda: filter_calls(self.calls), **more)

    def finish(self):
        # The filter is one: a call that is not in the list ends a process.
        probe = self.popen([], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, executable="/usr/bin/env")
        if probe.wait() != -signal.SIGSYS:
            print(f"note: env of this machine ended with {probe.returncode} under the filter")
        gone = subprocess.run(
            [sys.executable, "-c", "import ctypes; ctypes.CDLL(None).syscall(332, 0, 0, 0, 0, 0)"],
            preexec_fn=lambda: filter_calls(self.calls + [9999]), stderr=subprocess.DEVNULL, close_fds=False)
        if gone.returncode not in (-signal.SIGSYS, 128 + signal.SIGSYS):
            sys.exit(f"the filter lets statx through: {gone.returncode}")


class Traced:
    def __init__(self, program):
        self.trace = tempfile.mkdtemp()
        self.command = ["qemu-aarch64", "-cpu", "cortex-a76", "-strace", "-D", f"{self.trace}/%d", program]
        self.n = 0

    def popen(self, arguments, **more):
        self.n += 1
        command = [word.replace("%d", str(self.n)) for word in self.command]
        return subprocess.Popen([*command, *arguments], **more)

    def finish(self):
        names = set()
        for path in Path(self.trace).iterdir():
            # A line is: process, call(arguments) = result; another thread's may stand within it.
            text = path.read_text(errors="replace")
            names |= set(re.findall(r"(?:^|\s)(?:\d+ )(\w+)\(", text)) | set(re.findall(r"Unknown syscall \d+", text))
        strange = names - allowed()
        if strange or len(names) < 15:
            sys.exit(f"calls that Android does not let its apps make: {sorted(strange)}; of {len(names)} seen")
        print(f"{len(names)} different system calls, each of them allowed: {' '.join(sorted(names))}")


def answered(request):
    """The answer of a server that may still be loading its model."""
    for _ in range(600):
        try:
            return json.load(urllib.request.urlopen(request, timeout=300))
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        time.sleep(0.2)
    sys.exit("the server does not become ready")


def main():
    kind, program = sys.argv[1:]
    runner = {"native": Native, "traced": Traced}[kind](str(Path(program).resolve()))
    # As in Termux.
    home = tempfile.TemporaryDirectory()
    variables = {"HOME": home.name, "ANDROID_ROOT": "/system", "ANDROID_DATA": "/data", "TMPDIR": home.name}

    def run(*arguments, stdin=b""):
        process = runner.popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=variables, cwd=ROOT)
        out, said = process.communicate(stdin, timeout=500)
        if process.returncode:
            sys.exit(f"{arguments}: ended with {process.returncode} (-{int(signal.SIGSYS)} is SIGSYS)\n{said.decode()}")
        return out.decode()

    ask = ["run", str(MODEL), "--greedy", "-q", "-t", "2", "--ctx", "1024"]
    what = [*ask, "-p", "How much is 20 - 16?"]
    answer = run(*what)
    assert "4" in answer, answer
    for more in [["--no-mmap"], ["--mlock"], ["--seed", "1"], ["--mem", "60M", "--batch", "32"]]:
        assert run(*what, *more) == answer, more
    assert run(*ask, "-p", "-", stdin=b"How much is 20 - 16?") == answer
    long = [*ask, "-n", "4", "-p", "one two three four " * 120]
    kept = ["--cache", f"{home.name}/kept"]
    assert run(*long, *kept) == run(*long, *kept) == run(*long)
    assert list(Path(home.name).glob("kept/**/state-*")), "nothing was kept"
    picture = ["--mmproj", "models/mmproj-demo.gguf", "--image", "models/demo/images/15.png", "-p", "What is this?"]
    assert "triangle" in run(*ask, *picture)
    run("logits", str(MODEL), "--help")
    run("synth", "--size", "0.8b", "--quant", "q4_0", "--help")
    run("list")
    json.loads(run("inspect", str(MODEL), "--json"))

    server = runner.popen(["serve", str(MODEL), "--port", "0", "-t", "2", "--ctx", "1024"], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=variables, cwd=ROOT, text=True)
    for line in server.stderr:
        if "listening on " in line:
            address = line.split("listening on ")[1].strip()
            break
    else:
        sys.exit(f"the server ended with {server.wait()}")
    body = json.dumps({"messages": [{"role": "user", "content": "How much is 20 - 16?"}], "temperature": 0}).encode()
    request = urllib.request.Request(f"{address}/v1/chat/completions", body, {"content-type": "application/json"})
    try:
        reply = answered(request)
        assert reply["choices"][0]["message"]["content"].strip(), reply
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, server.returncode
    finally:
        server.kill()
    runner.finish()
    print(f"{kind}: answers, pictures, kept prompts and a server, as an app of Android")


main()
