#!/usr/bin/env python3
"""Talks with the Windows program in a console: chat_in_console.py COMMAND...

COMMAND starts the program, through an emulator for one. A console is there, a person types: a question is answered, Ctrl-C
stops an answer that does not end, the next question is answered, and Ctrl-C with nothing to stop ends the chat.
"""
import os
import pty
import re
import select
import sys
import time

PATIENCE = 120


class Console:
    def __init__(self, command):
        self.pid, self.keys = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execvp(command[0], command)
        self.shown = ""

    def read(self, seconds):
        """What is shown within that time, or until nothing more can be."""
        if select.select([self.keys], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.keys, 65536).decode(errors="replace")
            except OSError:
                return False
        return True

    def text(self):
        """What is shown, without what steers a terminal, in one line: a console breaks it anywhere."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b.|[\r\n]", "", self.shown)

    def wait(self, what, times=1):
        until = time.monotonic() + PATIENCE
        while len(re.findall(what, self.text())) < times:
            if time.monotonic() > until or not self.read(0.2):
                sys.exit(f"waited in vain for {what!r} ({times}); shown:\n{self.text()[-2000:]}")

    def type(self, keys):
        """As a person does: after a look, one key after the other."""
        self.read_for(1)
        for key in keys:
            os.write(self.keys, key.encode())
            self.read_for(0.05)

    def read_for(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self.read(left):
            pass

    def end(self):
        until = time.monotonic() + PATIENCE
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            self.read(0.1)
            if time.monotonic() > until:
                os.kill(self.pid, 9)
                sys.exit(f"it does not end; shown:\n{self.text()[-2000:]}")


def main():
    model = "models/demo-q8_0.gguf"
    # So hot that an answer does not find its end.
    hot = ["--temp", "50", "--top-k", "0", "--top-p", "1", "--loop-guard", "off", "--seed", "1"]
    console = Console([*sys.argv[1:], "run", model, "--ctx", "65536", "-t", "1", *hot])
    console.wait(">>>")
    console.type("go on and on\r")
    console.read_for(0.5)
    os.write(console.keys, b"\x03")
    console.wait("stopped")
    # It goes on, and the next answer too can be stopped.
    console.type("again\r")
    console.read_for(0.5)
    os.write(console.keys, b"\x03")
    console.wait("stopped", 2)
    console.type("/exit\r")
    console.end()
    print("a chat in a console: Ctrl-C stopped two answers, and it went on")


main()
