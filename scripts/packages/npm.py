#!/usr/bin/env python3
"""Packages for npm: npm.py build|test

A package for each platform carries its binary, and `qwen-edge` starts the one that is there. From files both are given:

    npm install --global ./qwen-edge-linux-x64-0.1.0.tgz ./qwen-edge-0.1.0.tgz
"""

import json
import os
import shutil
import tempfile

import house

LAUNCHER = """\
#!/usr/bin/env node
// Starts the program of this platform's package, and ends as it ends.
"use strict";
const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const name = `qwen-edge-${process.platform}-${process.arch}`;
const file = process.platform === "win32" ? "qwen-edge.exe" : "qwen-edge";
let program;
try {
  program = require.resolve(`${name}/bin/${file}`);
} catch {
  console.error(`error: qwen-edge has no package for this platform, or it is not installed: ${name}`);
  process.exit(1);
}
// Ctrl-C is for the program, which may go on.
const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
for (const signal of signals) {
  process.on(signal, () => signal === "SIGINT" || child.kill(signal));
}
child.on("error", (error) => {
  console.error(`error: ${program}: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
"""


def common(name, description):
    return {
        "name": name,
        "version": house.VERSION,
        "description": description,
        "license": "MIT OR Apache-2.0",
        "homepage": house.HOMEPAGE,
        "repository": {"type": "git", "url": f"git+{house.HOMEPAGE}.git"},
    }


def binary_name(platform):
    return f"qwen-edge-{platform.node[0]}-{platform.node[1]}"


def tgz(name, files):
    """A package as npm packs it: everything below package/."""
    files = {f"package/{path}": content for path, content in files.items()}
    files |= {f"package/{path}": (data, 0o644) for path, data in house.licences().items()}
    return house.write(f"{name}-{house.VERSION}.tgz", house.compress(house.tar(files)))


def text(value):
    return (json.dumps(value, indent=2) + "\n").encode()


def build():
    there = house.platforms(node=True)
    for platform in there:
        system, cpu = platform.node
        name = binary_name(platform)
        meta = common(name, f"The program qwen-edge for {platform.name}") | {
            "os": [system],
            "cpu": [cpu],
            "preferUnplugged": True,
        }
        tgz(
            name,
            {"package.json": (text(meta), 0o644), f"bin/{platform.program}": (platform.binary.read_bytes(), 0o755)},
        )
    meta = common(house.NAME, house.SUMMARY) | {
        "bin": {"qwen-edge": "bin/qwen-edge.js"},
        "engines": {"node": ">=18"},
        "keywords": ["qwen", "gguf", "llm", "inference", "cpu"],
        "optionalDependencies": {binary_name(p): house.VERSION for p in there},
    }
    tgz(
        house.NAME,
        {
            "package.json": (text(meta), 0o644),
            "bin/qwen-edge.js": (LAUNCHER.encode(), 0o755),
            "README.md": ((house.ROOT / "README.md").read_bytes(), 0o644),
        },
    )


def test():
    if shutil.which("npm") is None:
        house.say("npm is not installed: not tried")
        return
    for platform in house.platforms(node=True):
        if house.emulator(platform) != []:
            continue
        files = [house.DIST / f"{name}-{house.VERSION}.tgz" for name in (binary_name(platform), house.NAME)]
        with house.Trial("npm", files[0].name) as trial, tempfile.TemporaryDirectory() as home:
            place = trial.root / "usr"
            (place / "lib/node_modules").mkdir(parents=True)
            (place / "bin").mkdir()
            trial.before()
            environment = {"HOME": home, "PATH": os.environ["PATH"]}
            npm = ["npm", "--prefix", place, "--global", "--offline", "--no-audit", "--no-fund", "--loglevel", "error"]
            # Optional packages of other platforms are asked for, and not to be had without a net.
            house.run([*npm, "install", *files], env=environment)
            trial.heard(
                house.run([place / "bin/qwen-edge", *house.ask(trial.root / "models/demo.gguf")], env=environment)
            )
            wrong = house.subprocess.run(
                [place / "bin/qwen-edge", "run", "/no/such.gguf", "-p", "x"], env=environment, capture_output=True
            )
            if wrong.returncode != 1:
                house.fail(f"a model that is not there: expected exit code 1, found {wrong.returncode}")
            house.run([*npm, "uninstall", house.NAME, binary_name(platform)], env=environment)
            # npm keeps an account of what it installed, here as everywhere.
            (place / "lib/node_modules/.package-lock.json").unlink(missing_ok=True)
            trial.after()


if __name__ == "__main__":
    house.door(build, test)
