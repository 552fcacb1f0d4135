#!/usr/bin/env python3
"""Archives for those who install by hand: archive.py build|test

A .tar.gz for Linux and macOS, a .zip for Windows: the program, man pages and completions, the manual, the licences;
and the source as Git has it. sums.py writes dist/SHA256SUMS.
"""

import os
import shutil
import subprocess
import tarfile
import zipfile

import house


def name(platform):
    return f"{house.NAME}-{house.VERSION}-{platform.name}"


def contents(platform):
    top = name(platform)
    files = {f"{top}/{platform.program}": (platform.binary.read_bytes(), 0o755)}
    if platform.archive == "zip":
        files[f"{top}/_qwen-edge.ps1"] = (house.powershell(), 0o644)
    else:
        files |= {f"{top}/share/{path}": (data, 0o644) for path, data in house.extras().items()}
    return files | {f"{top}/{path}": (data, 0o644) for path, data in (house.manual() | house.licences()).items()}


def build():
    for platform in house.platforms():
        files = contents(platform)
        if platform.archive == "zip":
            house.write(f"{name(platform)}.zip", house.zipped(files))
        else:
            house.write(f"{name(platform)}.tar.gz", house.compress(house.tar(files)))
    top = f"{house.NAME}-{house.VERSION}"
    source = subprocess.run(
        ["git", "archive", "--format=tar", f"--prefix={top}/", "HEAD"], cwd=house.ROOT, capture_output=True
    )
    if source.returncode == 0:
        house.write(f"{top}-source.tar.gz", house.compress(source.stdout, 6))


def test():
    for platform in house.platforms():
        file = house.DIST / f"{name(platform)}.{platform.archive}"
        with house.Trial("archive", file.name) as trial:
            trial.before()
            place = trial.root / "opt"
            house.say(f"unpack {file.name} in /opt")
            if platform.archive == "zip":
                with zipfile.ZipFile(file) as archive:
                    archive.extractall(place)
            else:
                with tarfile.open(file) as archive:
                    house.unpack(archive, place)
            top = place / name(platform)
            for needed in (platform.program, "README.md", "docs/guide.md", *house.LICENCES):
                if not (top / needed).is_file():
                    house.fail(f"{needed} is not in it")
            if platform.archive == "zip":
                windows(top / platform.program, trial)
            else:
                trial.first_answer(platform, f"/opt/{name(platform)}/{platform.program}")
            house.run(["rm", "-r", place])
            trial.after()


def windows(program, trial):
    """The answer under wine, where it is installed, with the prefix of windows-toolchain.sh where that has made one."""
    prefix = house.ROOT / "target/windows/run"
    wine = os.environ.get("WINE") or (prefix if prefix.exists() else None) or shutil.which("wine64") or shutil.which("wine")
    if wine is None:
        house.say("no answer: nothing here runs programs of Windows (wine, or its path in WINE)")
        return
    env = {**os.environ, "WINEDEBUG": "-all"}
    trial.heard(house.run([wine, program, *house.ask(trial.root / "models/demo.gguf")], env=env))


if __name__ == "__main__":
    house.door(build, test)
