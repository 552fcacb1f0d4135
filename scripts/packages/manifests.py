#!/usr/bin/env python3
"""What package managers ask for: manifests.py build|test

From dist/SHA256SUMS alone come a Homebrew formula, a scoop manifest, three files for winget and a Termux recipe, in
dist/manifests/. One whose files are not built is not written. `cargo binstall` reads Cargo.toml, which is tried here as
well. Nothing is published: they name the addresses at which a release would lie.
"""

import json
import os
import pathlib
import re
import shutil
import tarfile
import tempfile
import tomllib
import zipfile

import archive
import house
import sums

RELEASE = f"{house.HOMEPAGE}/releases/download/v{house.VERSION}"
LICENCE = "MIT OR Apache-2.0"


def homebrew(table):
    """A formula for macOS and Linux, of the archives that there are."""
    blocks = []
    for system, prefix in (("macos", "macos"), ("linux", "linux")):
        cpus = []
        for cpu, kind in (("arm", "aarch64"), ("intel", "x86_64")):
            name = f"{house.NAME}-{house.VERSION}-{prefix}-{kind}.tar.gz"
            if name in table:
                cpus.append(f'    on_{cpu} do\n      url "{RELEASE}/{name}"\n      sha256 "{table[name]}"\n    end\n')
        if cpus:
            blocks.append(f"  on_{system} do\n{''.join(cpus)}  end\n")
    if not blocks:
        return None
    # A formula without a file for a system says so when it is installed there.
    needs = "" if len(blocks) == 2 else "  depends_on :linux\n\n"
    return f"""class QwenEdge < Formula
  desc "{house.SUMMARY}"
  homepage "{house.HOMEPAGE}"
  version "{house.VERSION}"
  license any_of: ["MIT", "Apache-2.0"]

{needs}{chr(10).join(blocks)}
  def install
    bin.install "qwen-edge"
    man1.install Dir["share/man/man1/*"]
    bash_completion.install "share/bash-completion/completions/qwen-edge"
    zsh_completion.install "share/zsh/site-functions/_qwen-edge"
    fish_completion.install "share/fish/vendor_completions.d/qwen-edge.fish"
    doc.install "README.md", "CHANGELOG.md", "docs", "LICENSE-MIT", "LICENSE-APACHE"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/qwen-edge --version")
  end
end
"""


def scoop(table):
    name = f"{house.NAME}-{house.VERSION}-windows-x86_64.zip"
    if name not in table:
        return None
    top = name.removesuffix(".zip")
    later = f"{house.HOMEPAGE}/releases/download/v$version/{house.NAME}-$version-windows-x86_64.zip"
    return (
        json.dumps(
            {
                "version": house.VERSION,
                "description": house.SUMMARY,
                "homepage": house.HOMEPAGE,
                "license": "MIT|Apache-2.0",
                "architecture": {"64bit": {"url": f"{RELEASE}/{name}", "hash": table[name], "extract_dir": top}},
                "bin": "qwen-edge.exe",
                "checkver": "github",
                "autoupdate": {
                    "architecture": {"64bit": {"url": later, "extract_dir": f"{house.NAME}-$version-windows-x86_64"}},
                    "hash": {"url": "$baseurl/SHA256SUMS"},
                },
            },
            indent=4,
        )
        + "\n"
    )


def winget(table):
    """Three files: version, installer, and the texts of one language."""
    name = f"{house.NAME}-{house.VERSION}-windows-x86_64.zip"
    if name not in table:
        return {}
    identifier = "qwen-edge.qwen-edge"
    schema = "1.6.0"

    def file(kind, fields):
        head = f"# yaml-language-server: $schema=https://aka.ms/winget-manifest.{kind}.{schema}.schema.json\n"
        common = {"PackageIdentifier": identifier, "PackageVersion": house.VERSION}
        tail = {"ManifestType": kind, "ManifestVersion": schema}
        # Every JSON value is one of YAML.
        return head + "".join(f"{key}: {json.dumps(value)}\n" for key, value in (common | fields | tail).items())

    path = pathlib.PureWindowsPath(name.removesuffix(".zip")) / "qwen-edge.exe"
    installer = {"Architecture": "x64", "InstallerUrl": f"{RELEASE}/{name}", "InstallerSha256": table[name].upper()}
    return {
        f"{identifier}.yaml": file("version", {"DefaultLocale": "en-US"}),
        f"{identifier}.installer.yaml": file(
            "installer",
            {
                "InstallerType": "zip",
                "NestedInstallerType": "portable",
                "NestedInstallerFiles": [{"RelativeFilePath": str(path), "PortableCommandAlias": house.NAME}],
                "Installers": [installer],
            },
        ),
        f"{identifier}.locale.en-US.yaml": file(
            "defaultLocale",
            {
                "PackageLocale": "en-US",
                "Publisher": house.MAINTAINER,
                "PackageName": house.NAME,
                "PackageUrl": house.HOMEPAGE,
                "License": LICENCE,
                "ShortDescription": house.SUMMARY,
                "Moniker": house.NAME,
                "Tags": ["cpu", "gguf", "inference", "llm", "qwen"],
            },
        ),
    }


def termux(table):
    """A recipe that builds from the source archive, as Termux does with all of its packages."""
    name = f"{house.NAME}-{house.VERSION}-source.tar.gz"
    if name not in table:
        return None
    return f"""TERMUX_PKG_HOMEPAGE={house.HOMEPAGE}
TERMUX_PKG_DESCRIPTION="{house.SUMMARY}"
TERMUX_PKG_LICENSE="MIT, Apache-2.0"
TERMUX_PKG_LICENSE_FILE="LICENSE-MIT, LICENSE-APACHE"
TERMUX_PKG_MAINTAINER="@termux"
TERMUX_PKG_VERSION={house.VERSION}
TERMUX_PKG_SRCURL={RELEASE}/{name}
TERMUX_PKG_SHA256={table[name]}
TERMUX_PKG_SUGGESTS="curl, ffmpeg"
TERMUX_PKG_BUILD_IN_SRC=true
TERMUX_PKG_AUTO_UPDATE=true
# There are no kernels for 32-bit CPUs.
TERMUX_PKG_EXCLUDED_ARCHES="arm, i686"

termux_step_pre_configure() {{
	termux_setup_rust
}}

termux_step_make() {{
	cargo build --jobs "$TERMUX_PKG_MAKE_PROCESSES" --target "$CARGO_TARGET_NAME" --release --locked
}}

termux_step_make_install() {{
	install -Dm700 -t "$TERMUX_PREFIX/bin" "target/$CARGO_TARGET_NAME/release/qwen-edge"
}}
"""


def all_of(table):
    """Path below dist/manifests/ to text."""
    found = {
        "homebrew/qwen-edge.rb": homebrew(table),
        "scoop/qwen-edge.json": scoop(table),
        "termux/build.sh": termux(table),
    }
    found |= {f"winget/{name}": text for name, text in winget(table).items()}
    return {path: text for path, text in found.items() if text}


def build():
    shutil.rmtree(house.DIST / "manifests", ignore_errors=True)
    for path, text in all_of(sums.table()).items():
        house.write(f"manifests/{path}", text.encode())


def test():
    table = sums.table()
    print("manifests: what they name is there, under the hash that they name", flush=True)
    for path, text in all_of(table).items():
        file = house.DIST / "manifests" / path
        if file.read_text(encoding="utf-8") != text:
            house.fail(f"{path} is not what SHA256SUMS says: build again")
        pairs = re.findall(r"releases/download/v[\d.]+/([\w.-]+\.(?:gz|zip))", text)
        hashes = {digest.lower() for digest in re.findall(r"\b[0-9a-fA-F]{64}\b", text)}
        if {table.get(name) for name in pairs} != hashes or bool(pairs) != bool(hashes):
            if pairs or hashes:
                house.fail(f"{path}: names {pairs}, whose hashes are others")
        house.say(f"{path}: {', '.join(pairs) or 'names no file'}")
    test_homebrew()
    test_scoop()
    test_termux()
    test_binstall(table)


def test_homebrew():
    """Lays the archive's files out as the formula says, each of which must be there."""
    formula = (house.DIST / "manifests/homebrew/qwen-edge.rb").read_text(encoding="utf-8")
    if shutil.which("ruby"):
        house.run(["ruby", "-c", house.DIST / "manifests/homebrew/qwen-edge.rb"])
    install = re.search(r"def install\n(.*?)\n  end", formula, re.S)[1]
    patterns = re.findall(r'"([^"]+)"', install)
    for platform in (p for p in house.platforms() if p.archive == "tar.gz"):
        with house.Trial("homebrew", platform.name) as trial:
            trial.before()
            top = unpacked(platform, trial.root)
            for pattern in patterns:
                if not list(top.glob(pattern)):
                    house.fail(f"the formula installs {pattern}, which the archive lacks")
            cellar = trial.root / "opt/homebrew/bin"
            cellar.mkdir(parents=True)
            shutil.copy(top / "qwen-edge", cellar)
            trial.first_answer(platform, "/opt/homebrew/bin/qwen-edge")
            shutil.rmtree(trial.root / "opt")
            trial.after()


def unpacked(platform, root):
    with tarfile.open(house.DIST / f"{archive.name(platform)}.tar.gz") as tar:
        house.unpack(tar, root / "opt")
    return root / "opt" / archive.name(platform)


def test_scoop():
    file = house.DIST / "manifests/scoop/qwen-edge.json"
    if not file.exists():
        house.say("scoop, winget: no archive for Windows is built, so that there is no manifest")
        return
    manifest = json.loads(file.read_text(encoding="utf-8"))
    entry = manifest["architecture"]["64bit"]
    names = zipfile.ZipFile(house.DIST / entry["url"].rpartition("/")[2]).namelist()
    yaml = (house.DIST / "manifests/winget/qwen-edge.qwen-edge.installer.yaml").read_text(encoding="utf-8")
    nested = json.loads(re.search(r"NestedInstallerFiles: (.*)", yaml)[1])[0]["RelativeFilePath"].replace("\\", "/")
    for needed in (f"{entry['extract_dir']}/{manifest['bin']}", nested):
        if needed not in names:
            house.fail(f"the archive for Windows lacks {needed}")
    house.say("scoop, winget: the program is in the archive where they look for it")


def test_termux():
    """Runs the recipe's own steps on the source archive, with a cargo that brings the binary that is built already."""
    recipe = house.DIST / "manifests/termux/build.sh"
    source = house.DIST / f"{house.NAME}-{house.VERSION}-source.tar.gz"
    platform = house.PLATFORMS[1]
    if not recipe.exists() or not platform.built():
        house.say("termux: not tried, source archive and aarch64 binary are not both there")
        return
    with house.Trial("termux", "build.sh") as trial, tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        with tarfile.open(source) as tar:
            top = tar.getnames()[0].split("/")[0]
            wanted = [m for m in tar.getmembers() if m.name.count("/") == 1]
            house.unpack(tar, work, wanted)
        for needed in ("Cargo.toml", "Cargo.lock", *house.LICENCES):
            if not (work / top / needed).is_file():
                house.fail(f"the source archive lacks {needed}")
        prefix = "data/data/com.termux/files/usr"
        cargo = work / "bin/cargo"
        cargo.parent.mkdir()
        cargo.write_text(
            f'#!/bin/sh\necho "cargo $*"\ncase "$*" in *--release*--locked*) ;; *) exit 9 ;; esac\n'
            f'install -D "{platform.binary}" target/aarch64-linux-android/release/qwen-edge\n'
        )
        cargo.chmod(0o755)
        trial.before()
        steps = (
            f'set -eu; termux_setup_rust() {{ CARGO_TARGET_NAME=aarch64-linux-android; }}; . "{recipe}"; '
            "termux_step_pre_configure; termux_step_make; termux_step_make_install"
        )
        environment = {
            "PATH": f"{cargo.parent}:{os.environ['PATH']}",
            "TERMUX_PREFIX": str(trial.root / prefix),
            "TERMUX_PKG_MAKE_PROCESSES": "2",
        }
        house.run(["bash", "-c", steps], env=environment, cwd=work / top)
        trial.first_answer(platform, f"/{prefix}/bin/qwen-edge")
        shutil.rmtree(trial.root / "data")
        trial.after()


def test_binstall(table):
    """Fills Cargo.toml's templates in, as cargo binstall does, and looks into the archives that they name."""
    metadata = tomllib.loads((house.ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["metadata"]["binstall"]
    seen = []
    for target, override in metadata["overrides"].items():
        settings = {**metadata, **override}
        exe = ".exe" if "windows" in target else ""
        values = {
            "repo": house.HOMEPAGE,
            "name": house.NAME,
            "version": house.VERSION,
            "target": target,
            "bin": house.NAME,
            "binary-ext": exe,
        }

        def filled(template):
            return re.sub(r"\{ ([\w-]+) \}", lambda match: values[match[1]], template)

        url, inside = filled(settings["pkg-url"]), filled(settings["bin-dir"])
        file = url.rpartition("/")[2]
        if url != f"{RELEASE}/{file}":
            house.fail(f"binstall, {target}: {url} is no address of a release")
        if file not in table:
            house.say(f"binstall, {target}: {file} is not built here")
            continue
        if settings["pkg-fmt"] == "tgz":
            with tarfile.open(house.DIST / file) as tar:
                names = tar.getnames()
        else:
            names = zipfile.ZipFile(house.DIST / file).namelist()
        if inside not in names:
            house.fail(f"binstall, {target}: {file} has no {inside}")
        seen.append(target)
    house.say(f"binstall: the program is in the archive where Cargo.toml says: {', '.join(seen)}")


if __name__ == "__main__":
    house.door(build, test)
