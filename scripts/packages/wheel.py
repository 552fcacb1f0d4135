#!/usr/bin/env python3
"""Wheels that carry the program: wheel.py build|test

`pip install qwen_edge-….whl` puts `qwen-edge` beside Python's own programs; `python -m qwen_edge` starts it too. There is
no Python between: the script of the wheel is the binary. A static binary keeps to every manylinux and musllinux.
"""

import base64
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile

import house

PACKAGE = "qwen_edge"

INIT = '''\
"""The program qwen-edge, which this package installs: `qwen-edge --help`."""

import os
import sys
import sysconfig

__version__ = "{version}"


def find_program():
    """The path of the program; FileNotFoundError says where it was looked for."""
    name = "qwen-edge" + (".exe" if os.name == "nt" else "")
    schemes = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))]
    # With pip install --target it lies in bin, beside the package.
    schemes.append(os.path.join(os.path.dirname(os.path.dirname(__file__)), "bin"))
    for folder in schemes:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise FileNotFoundError("no " + name + " in " + ", ".join(schemes))


def main():
    """Becomes the program, with this process's arguments."""
    program = find_program()
    arguments = [program, *sys.argv[1:]]
    if os.name == "nt":
        import subprocess

        sys.exit(subprocess.call(arguments))
    os.execv(program, arguments)
'''

MAIN = "from . import main\n\nmain()\n"

METADATA = """\
Metadata-Version: 2.4
Name: qwen-edge
Version: {version}
Summary: {summary}
Author: {author}
License-Expression: MIT OR Apache-2.0
License-File: LICENSE-MIT
License-File: LICENSE-APACHE
Project-URL: Source, {homepage}
Keywords: qwen,gguf,llm,inference,cpu
Classifier: Environment :: Console
Classifier: Programming Language :: Rust
Classifier: Topic :: Scientific/Engineering :: Artificial Intelligence
Requires-Python: >=3.10
Description-Content-Type: text/markdown

"""

WHEEL = """\
Wheel-Version: 1.0
Generator: qwen-edge packages
Root-Is-Purelib: false
{tags}
"""


def name(platform):
    return f"{PACKAGE}-{house.VERSION}-py3-none-{platform.wheel}.whl"


def contents(platform):
    info = f"{PACKAGE}-{house.VERSION}.dist-info"
    tags = "\n".join(f"Tag: py3-none-{tag}" for tag in platform.wheel.split("."))
    texts = {
        f"{PACKAGE}/__init__.py": INIT.format(version=house.VERSION),
        f"{PACKAGE}/__main__.py": MAIN,
        f"{info}/METADATA": METADATA.format(
            version=house.VERSION, summary=house.SUMMARY, author=house.MAINTAINER, homepage=house.HOMEPAGE
        )
        + (house.ROOT / "README.md").read_text(encoding="utf-8"),
        f"{info}/WHEEL": WHEEL.format(tags=tags),
    }
    files = {path: (text.encode(), 0o644) for path, text in texts.items()}
    files |= {f"{info}/licenses/{path}": (data, 0o644) for path, data in house.licences().items()}
    files[f"{PACKAGE}-{house.VERSION}.data/scripts/{platform.program}"] = (platform.binary.read_bytes(), 0o755)
    lines = []
    for path, (data, _) in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    lines.append(f"{info}/RECORD,,\n")
    files[f"{info}/RECORD"] = ("".join(lines).encode(), 0o644)
    return files


def build():
    for platform in house.platforms(wheel=True):
        house.write(name(platform), house.zipped(contents(platform)))


def test():
    for platform in house.platforms(wheel=True):
        file = house.DIST / name(platform)
        with house.Trial("wheel", file.name) as trial, tempfile.TemporaryDirectory() as home:
            native = house.emulator(platform) == []
            environment = {
                "HOME": home,
                "PATH": "/usr/bin:/bin",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_NO_CACHE_DIR": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            if native:
                place = trial.root / "venv"
                house.run([sys.executable, "-m", "venv", place])
                python, program = place / "bin/python", place / "bin/qwen-edge"
                pip = [python, "-m", "pip"]
                trial.before()
                house.run([*pip, "install", "--no-index", "--no-compile", file], env=environment)
                model = trial.root / "models/demo.gguf"
                for command in ([program], [python, "-m", PACKAGE]):
                    trial.heard(house.run([*command, *house.ask(model)], env=environment))
                house.run([*pip, "check"], env=environment)
                house.run([*pip, "uninstall", "--yes", "qwen-edge"], env=environment)
            else:
                # pip lays out a wheel of another platform where it is told to; removal is that of the folder.
                trial.before()
                place = trial.root / "target"
                tag = platform.wheel.split(".")[0]
                house.run(
                    [
                        sys.executable,
                        "-m",
                        "pip",
                        "install",
                        "--no-index",
                        "--no-compile",
                        "--target",
                        place,
                        "--only-binary",
                        ":all:",
                        "--platform",
                        tag,
                        file,
                    ],
                    env=environment,
                )
                if not (place / "bin" / platform.program).is_file():
                    house.fail("no program in the wheel")
                if platform.program.endswith(".exe"):
                    house.say("no answer from here: the archive's trial runs the same file")
                else:
                    trial.first_answer(platform, "/target/bin/qwen-edge")
                shutil.rmtree(place)
            trial.after()
            if pathlib.Path(home).exists() and any(pathlib.Path(home).iterdir()):
                house.fail(f"left in the home: {os.listdir(home)}")


if __name__ == "__main__":
    house.door(build, test)
