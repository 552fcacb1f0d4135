#!/usr/bin/env python3
"""A static binary finds a hub by its name where there is nothing but /etc/resolv.conf: test_names.py BINARY

In a network of its own (unshare), whose only name server and only hub are this script, the binary runs in a folder that is its whole
file system.
"""

import fcntl
import http.server
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

NAME = "hub.example"


def bring_up_loopback():
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def serve_names(sock, asked):
    while True:
        query, peer = sock.recvfrom(512)
        end = query.index(b"\0", 12) + 1
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, (kind,) = ".".join(labels).lower(), struct.unpack(">H", query[end : end + 2])
        asked.append(name)
        answers = name == NAME and kind == 1
        code = 0 if name == NAME else 3
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, int(answers), 0, 0)
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1]) if answers else b""
        sock.sendto(head + query[12 : end + 4] + answer, peer)


class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.send_header("x-error-code", "RepoNotFound")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main(binary):
    bring_up_loopback()
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    asked = []
    threading.Thread(target=serve_names, args=(names, asked), daemon=True).start()
    hub = http.server.HTTPServer(("127.0.0.1", 8000), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(f"{root}/etc")
        pathlib.Path(root, "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        shutil.copy(binary, f"{root}/qwen-edge")
        for host, told in [(NAME, f"there is no repository a/b at {NAME}"), ("nowhere.example", "cannot find nowhere.example")]:
            env = {"HOME": "/", "HF_ENDPOINT": f"http://{host}:8000", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
            done = subprocess.run(
                ["/qwen-edge", "pull", "a/b"], env=env, cwd="/", capture_output=True, text=True, timeout=60,
                preexec_fn=lambda: os.chroot(root),
            )
            assert done.returncode == 1 and told in done.stderr, done
    assert NAME in asked, asked
    print(f"{binary}: finds names")


if __name__ == "__main__":
    if os.environ.get("QWEN_EDGE_OWN_NETWORK") is None:
        os.environ["QWEN_EDGE_OWN_NETWORK"] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", "python3", *sys.argv])
    main(sys.argv[1])
