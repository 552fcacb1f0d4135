#!/usr/bin/env python3
"""Debian packages for amd64 and arm64: deb.py build|test

The program, man pages, completions, the manual, and a systemd unit that stays off until /etc/default/qwen-edge names a
model. dpkg-deb packs what is laid out here; lintian judges it.
"""

import gzip
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import house

HERE = house.ROOT / "scripts/deb"
UNIT = "qwen-edge.service"
CONFFILE = "/etc/default/qwen-edge"

CONTROL = """\
Package: qwen-edge
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer} <maintainers@qwen-edge.invalid>
Installed-Size: {kilobytes}
Suggests: curl, ffmpeg
Section: science
Priority: optional
Homepage: {homepage}
Description: {summary}
 Runs the Qwen3.5 small series (0.8B, 2B, 4B, 9B) from GGUF files on laptops
 and small Arm boards. One static binary that needs nothing else: answers,
 chats, pictures, many prompts at once, and a server that speaks the APIs of
 OpenAI, Anthropic, Ollama and llama.cpp.
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: qwen-edge
Source: {homepage}

Files: *
Copyright: {year} {maintainer}
License: Expat or Apache-2.0

License: Expat
{mit}

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
"""

# The package is to run where there is nothing, and brings its own C library.
OVERRIDES = """\
# One file that runs on every Linux of its CPU is what this package is.
qwen-edge: statically-linked-binary [usr/bin/qwen-edge]
# A static program that can be loaded at any address is taken for a library.
qwen-edge: shared-library-lacks-prerequisites [usr/bin/qwen-edge]
"""

# The unit is never enabled or started by an installation; what its user has enabled goes when the package goes.
SCRIPTS = {
    "postinst": """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        # A server that runs goes on with the new program; one that does not is left alone.
        if [ -n "$2" ]; then deb-systemd-invoke try-restart qwen-edge.service >/dev/null || true; fi
    fi
fi
""",
    "prerm": """\
#!/bin/sh
set -e
if [ "$1" = remove ]; then
    if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
        deb-systemd-invoke stop qwen-edge.service >/dev/null || true
    fi
    rm -f "$DPKG_ROOT/etc/systemd/system/multi-user.target.wants/qwen-edge.service"
fi
""",
    "postrm": """\
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
""",
}


def name(platform):
    return f"{house.NAME}_{house.VERSION}_{platform.debian}.deb"


def packed(data):
    return gzip.compress(data, 9, mtime=0)


def mit():
    """The licence as a field of the copyright file: a space in front, a full stop on empty lines."""
    text = (house.ROOT / "LICENSE-MIT").read_text(encoding="utf-8").strip()
    return "\n".join(f" {line}" if line.strip() else " ." for line in text.splitlines())


def contents(platform):
    """Path below / to (bytes, mode)."""
    when = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(house.epoch()))
    changes = f"""\
qwen-edge ({house.VERSION}) unstable; urgency=medium

  * See CHANGELOG.md beside this file.

 -- {house.MAINTAINER} <maintainers@qwen-edge.invalid>  {when}
"""
    year = time.gmtime(house.epoch()).tm_year
    doc = "usr/share/doc/qwen-edge"
    files = {"usr/bin/qwen-edge": (platform.binary.read_bytes(), 0o755)}
    for path, data in house.extras().items():
        path = path.replace("zsh/site-functions", "zsh/vendor-completions")
        if path.startswith("man/"):
            path, data = path + ".gz", packed(data)
        files[f"usr/share/{path}"] = (data, 0o644)
    files |= {f"{doc}/{path}": (data, 0o644) for path, data in house.manual().items()}
    files[f"{doc}/changelog.gz"] = (packed(changes.encode()), 0o644)
    text = COPYRIGHT.format(homepage=house.HOMEPAGE, maintainer=house.MAINTAINER, year=year, mit=mit())
    files[f"{doc}/copyright"] = (text.encode(), 0o644)
    files["usr/share/lintian/overrides/qwen-edge"] = (OVERRIDES.encode(), 0o644)
    files[f"lib/systemd/system/{UNIT}"] = ((HERE / UNIT).read_bytes(), 0o644)
    files[CONFFILE.lstrip("/")] = ((HERE / "default").read_bytes(), 0o644)
    return files


def build():
    if shutil.which("dpkg-deb") is None:
        house.fail("dpkg-deb is missing: it is part of every Debian and Ubuntu")
    for platform in house.platforms(debian=True):
        files = contents(platform)
        control = CONTROL.format(
            version=house.VERSION,
            architecture=platform.debian,
            maintainer=house.MAINTAINER,
            homepage=house.HOMEPAGE,
            summary="runs Qwen3.5 small models from GGUF files on the CPU",
            kilobytes=sum((len(data) + 1023) // 1024 for data, _ in files.values()),
        )
        sums = "".join(
            f"{house.hashlib.md5(data).hexdigest()}  {path}\n"
            for path, (data, _) in sorted(files.items())
            if f"/{path}" != CONFFILE
        )
        meta = {"control": (control, 0o644), "md5sums": (sums, 0o644), "conffiles": (f"{CONFFILE}\n", 0o644)}
        meta |= {script: (text, 0o755) for script, text in SCRIPTS.items()}
        files |= {f"DEBIAN/{path}": (text.encode(), mode) for path, (text, mode) in meta.items()}
        with tempfile.TemporaryDirectory() as folder:
            stage = pathlib.Path(folder) / "stage"
            for path, (data, mode) in files.items():
                target = stage / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                target.chmod(mode)
            for path in [stage, *stage.rglob("*")]:
                if path.is_dir():
                    path.chmod(0o755)
                os.utime(path, (house.epoch(), house.epoch()))
            out = pathlib.Path(folder) / "out.deb"
            environment = {**os.environ, "SOURCE_DATE_EPOCH": str(house.epoch())}
            command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", stage, out]
            subprocess.run(command, check=True, capture_output=True, env=environment)
            house.write(name(platform), out.read_bytes())


def test():
    for platform in house.platforms(debian=True):
        file = house.DIST / name(platform)
        with house.Trial("deb", file.name) as trial:
            if shutil.which("lintian"):
                # Errors end the trial; what else lintian says is shown.
                house.run(["lintian", "--allow-root", "--fail-on", "error", file])
            else:
                house.say("lintian is not installed: not judged")
            state = trial.root / "var/lib/dpkg"
            for part in ("info", "updates", "triggers"):
                (state / part).mkdir(parents=True)
            for part in ("status", "available"):
                (state / part).touch()
            trial.before()
            dpkg = [
                "dpkg",
                f"--root={trial.root}",
                "--force-script-chrootless",
                "--force-architecture",
                f"--log={os.devnull}",
            ]
            house.run([*dpkg, "--install", file])
            house.run([*dpkg, "--verify", "qwen-edge"])
            unit = (trial.root / f"lib/systemd/system/{UNIT}").exists()
            enabled = list((trial.root / "etc").rglob(UNIT))
            if not unit or enabled:
                house.fail("the unit must be there, and not enabled")
            trial.first_answer(platform, "/usr/bin/qwen-edge")
            # What its user enables goes too.
            wants = trial.root / "etc/systemd/system/multi-user.target.wants"
            wants.mkdir(parents=True)
            (wants / UNIT).symlink_to(f"/lib/systemd/system/{UNIT}")
            house.run([*dpkg, "--remove", "qwen-edge"])
            if (wants / UNIT).is_symlink():
                house.fail("the enabled unit is left behind")
            shutil.rmtree(trial.root / "etc/systemd")
            left = sorted(n for n, what in house.tree(trial.root).items() if n not in trial.clean and what != "folder")
            if [n for n in left if not n.startswith("var/lib/dpkg")] != [CONFFILE.lstrip("/")]:
                house.fail(f"removed, and left behind: {left}")
            house.run([*dpkg, "--purge", "qwen-edge"])
            trial.after(apart_from=["var/lib/dpkg"])


if __name__ == "__main__":
    house.door(build, test)
