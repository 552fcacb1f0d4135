"""What the packages have in common: the version, what goes into each of them, archives that are the same bytes for the
same input, and the trial that each passes in a folder of its own. Needs nothing but Python."""

import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
NAME = "qwen-edge"
HOMEPAGE = "https://github.com/qwen-edge/qwen-edge"
SUMMARY = "Runs Qwen3.5 small models from GGUF files on the CPU"
LICENCES = ("LICENSE-MIT", "LICENSE-APACHE")


def toml_value(key):
    text = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    return re.search(rf'^{key} = "(.*)"', text, re.M)[1]


VERSION = toml_value("version")
MAINTAINER = "The qwen-edge authors"


def epoch():
    """Seconds of the commit: the time of everything in a package."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    run = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    return int(run.stdout or 0)


class Platform:
    """A kind of machine that there are packages for.

    `binary` lies in dist/; `debian`, `oci` and `node` are what others call the CPU, `wheel` the tag of a wheel.
    """

    def __init__(self, name, binary, archive, debian=None, oci=None, node=None, wheel=None):
        self.name, self.archive = name, archive
        self.binary = DIST / binary
        self.debian, self.oci, self.node, self.wheel = debian, oci, node, wheel

    @property
    def program(self):
        """The name of the program on such a machine."""
        return NAME + (".exe" if self.binary.suffix == ".exe" else "")

    def built(self):
        return self.binary.exists()


PLATFORMS = [
    Platform(
        "linux-x86_64",
        "qwen-edge-x86_64",
        "tar.gz",
        "amd64",
        "amd64",
        ("linux", "x64"),
        "manylinux_2_17_x86_64.musllinux_1_1_x86_64",
    ),
    Platform(
        "linux-aarch64",
        "qwen-edge-aarch64",
        "tar.gz",
        "arm64",
        "arm64",
        ("linux", "arm64"),
        "manylinux_2_17_aarch64.musllinux_1_1_aarch64",
    ),
    Platform("windows-x86_64", "qwen-edge-x86_64.exe", "zip", node=("win32", "x64"), wheel="win_amd64"),
    Platform("macos-aarch64", "qwen-edge-macos-aarch64", "tar.gz", node=("darwin", "arm64"), wheel="macosx_11_0_arm64"),
    Platform("macos-x86_64", "qwen-edge-macos-x86_64", "tar.gz", node=("darwin", "x64"), wheel="macosx_11_0_x86_64"),
]


def platforms(**has):
    """The platforms whose binary is built, and that have the names asked for; at least one must be."""
    found = [p for p in PLATFORMS if p.built() and all(getattr(p, key) for key in has)]
    if not found:
        sys.exit("dist/ holds no binary for this package: make static")
    return found


def extras():
    """Path below share/ and bytes of man pages and completions, as this machine's binary prints them."""
    program = next((p.binary for p in PLATFORMS[:1] if p.built()), None)
    if program is None:
        sys.exit(f"{PLATFORMS[0].binary} prints man pages and completions, and is not there: make static")
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "man", folder], check=True, capture_output=True)
        for page in sorted(pathlib.Path(folder).iterdir()):
            files[f"man/man1/{page.name}"] = page.read_bytes()

    def completion(shell):
        return subprocess.run([program, "completions", shell], check=True, capture_output=True).stdout

    files["bash-completion/completions/qwen-edge"] = completion("bash")
    files["zsh/site-functions/_qwen-edge"] = completion("zsh")
    files["fish/vendor_completions.d/qwen-edge.fish"] = completion("fish")
    return files


def powershell():
    return subprocess.run([PLATFORMS[0].binary, "completions", "powershell"], check=True, capture_output=True).stdout


def manual():
    """Path and bytes of the README and of what it links to in docs/."""
    names = ["README.md", "CHANGELOG.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
    names += sorted(
        str(p.relative_to(ROOT)) for pattern in ("*.png", "plots/*.svg") for p in (ROOT / "docs").glob(pattern)
    )
    return {name: (ROOT / name).read_bytes() for name in names}


def licences():
    return {name: (ROOT / name).read_bytes() for name in LICENCES}


def tar(files):
    """A tar archive: `files` is a map of path to (bytes, mode); folders come before what is in them. Owned by root, and
    of the time of the commit."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders = set()

        def add(name, kind, mode, data=b""):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.mtime = kind, mode, len(data), epoch()
            archive.addfile(info, io.BytesIO(data))

        for name, (data, mode) in sorted(files.items()):
            for parent in reversed(pathlib.PurePosixPath(name).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    add(f"{parent}/", tarfile.DIRTYPE, 0o755)
            add(name, tarfile.REGTYPE, mode, data)
    return out.getvalue()


def unpack(archive, folder, members=None):
    """Unpacks an open tar archive; newer Pythons want to be told that it is data."""
    how = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    archive.extractall(folder, members=members, **how)


def compress(data, level=9):
    return gzip.compress(data, level, mtime=0)


def zipped(files):
    """A zip archive: `files` is a map of path to (bytes, mode)."""
    when = time.gmtime(max(epoch(), 315532800))[:6]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (data, mode) in sorted(files.items()):
            info = zipfile.ZipInfo(name, when)
            info.create_system, info.external_attr = 3, (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write(name, data):
    """Writes dist/NAME and says so."""
    path = DIST / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"dist/{name}: {len(data):,} bytes, sha256 {sha256(data)}")
    return path


# --- the trial ---

MODEL = ROOT / "models/demo-q8_0.gguf"
QUESTION, ANSWER = "What is the capital of France?", "Paris"


def ask(model):
    """The arguments of the first question."""
    return ["run", str(model), "-p", QUESTION, "--greedy"]


def tree(folder):
    """Everything below a folder, with what it is: to see that nothing is left behind."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = "link" if path.is_symlink() else "folder" if path.is_dir() else sha256(path.read_bytes())
    return found


def say(*words):
    print("   ", *words, flush=True)


def run(command, **options):
    """Runs a command, says which, shows what it said, and ends the trial if it fails."""
    words = [str(word) for word in command]
    say("$", " ".join(words).replace(str(ROOT) + "/", ""))
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    for line in (done.stdout + done.stderr).splitlines():
        say(line)
    if done.returncode:
        fail(f"{words[0]} ended with {done.returncode}")
    return done.stdout


def fail(why):
    sys.exit(f"    FAILED: {why}")


def emulator(platform):
    """What runs a binary of another CPU here: [] for this machine's own, None where nothing does."""
    machine = os.uname().machine
    if platform.name == f"linux-{machine}":
        return []
    if platform.name == "linux-aarch64":
        found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        return [found] if found else None
    return None


class Trial:
    """A folder of its own, with the demo model in it; what is there before a package comes is there behind it, no more.

    As a context: `with Trial("deb", "amd64") as trial`. `enter` runs a program with the folder as all there is.
    """

    def __init__(self, door, what):
        self.title = f"{door}, {what}"
        self.said = "not run here"

    def __enter__(self):
        print(f"{self.title}: a folder with nothing but the model", flush=True)
        self.began = time.monotonic()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="qwen-edge-package-"))
        self.root.chmod(0o755)
        (self.root / "models").mkdir()
        shutil.copy(MODEL, self.root / "models/demo.gguf")
        (self.root / "models/demo.gguf").chmod(0o644)
        return self

    def __exit__(self, kind, *_):
        shutil.rmtree(self.root, ignore_errors=True)
        if kind is None:
            print(
                f"{self.title}: installed, {self.said}, removed; nothing is left "
                f"({time.monotonic() - self.began:.1f} s)",
                flush=True,
            )

    def heard(self, output):
        """Sees that the program's answer is the right one."""
        if output.strip() != ANSWER:
            fail(f"expected the answer {ANSWER!r}, found {output.strip()!r}")
        self.said = "answered"

    def before(self):
        self.clean = tree(self.root)

    def after(self, apart_from=()):
        """Sees that the folder is as it was before."""

        def rest(files):
            return {name: what for name, what in files.items() if not name.startswith(tuple(apart_from))}

        now, then = rest(tree(self.root)), rest(self.clean)
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        if changed:
            fail(f"left behind or changed: {', '.join(changed[:10])}")

    def enter(self, platform, program, user=None, model="/models/demo.gguf", arguments=None):
        """The program's answer, with the folder as the whole file system and an empty environment."""
        if os.geteuid() != 0:
            fail("a package is tried in a root of its own, which takes root")
        here = emulator(platform)
        inside = []
        if here:
            # The emulator is a guest: it comes for the run, with the libraries it needs.
            guest = self.root / "emulator"
            guest.mkdir()
            libraries = subprocess.run(["ldd", here[0]], capture_output=True, text=True).stdout
            for library in re.findall(r"(/\S+)", libraries):
                target = self.root / library.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, target)
            shutil.copy(here[0], guest / "qemu")
            inside = ["/emulator/qemu"]
        words = [
            "/usr/sbin/chroot",
            *([f"--userspec={user}"] if user else []),
            self.root,
            *inside,
            program,
            *(ask(model) if arguments is None else arguments),
        ]
        output = run(words, env={})
        if here:
            shutil.rmtree(self.root / "emulator")
            for library in re.findall(r"(/\S+)", libraries):
                target = self.root / library.lstrip("/")
                if str(library).lstrip("/") not in self.clean:
                    target.unlink(missing_ok=True)
                    for parent in target.relative_to(self.root).parents:
                        if str(parent) not in (".", *self.clean):
                            try:
                                (self.root / parent).rmdir()
                            except OSError:
                                break
        return output

    def first_answer(self, platform, program, **options):
        """Has the demo model say the capital of France, where this machine can run the program at all."""
        if emulator(platform) is None:
            say(f"no answer: nothing here runs programs of {platform.name}")
            return
        self.heard(self.enter(platform, program, **options))


def door(build, test):
    """What a package's script does when it is run: SCRIPT build|test."""
    words = sys.argv[1:]
    if words == ["build"]:
        build()
    elif words == ["test"]:
        test()
    else:
        sys.exit(f"usage: {sys.argv[0]} build|test")
