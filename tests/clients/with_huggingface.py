"""The hub's own client for Python and qwen-edge share a cache: what one fetched, the other takes.

usage: with_huggingface.py PROGRAM REPO FILE, with HF_ENDPOINT of a local hub (tests/all/pull.rs starts it)
"""

import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_XET="1")

import huggingface_hub  # noqa: E402  (it reads its settings once)


def run(program, cache, *args, **variables):
    """What the program prints and says with this cache."""
    env = {**os.environ, "HF_HUB_CACHE": str(cache), **variables}
    done = subprocess.run([program, *args], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def main(program, repo, file):
    quant = file.rsplit("-", 1)[1].removesuffix(".gguf")
    with tempfile.TemporaryDirectory() as work:
        # Theirs, which is used as it is.
        theirs = pathlib.Path(work, "theirs")
        path = huggingface_hub.hf_hub_download(repo, file, cache_dir=theirs)
        printed, said = run(program, theirs, "pull", f"{repo}:{quant}")
        assert printed == path and "up to date" in said, (printed, said)
        offline = {"HF_HUB_OFFLINE": "1"}
        answer, _ = run(program, theirs, "run", f"{repo}:{quant}", "-p", "What is 2 + 3?", "--greedy", "-n", "8", **offline)
        assert answer == "2+3=5", answer

        # Ours, which they read without asking anybody, and have nothing to add to when they ask.
        ours = pathlib.Path(work, "ours")
        path, _ = run(program, ours, "pull", f"{repo}:{quant}")
        assert huggingface_hub.hf_hub_download(repo, file, cache_dir=ours, local_files_only=True) == path
        assert huggingface_hub.hf_hub_download(repo, file, cache_dir=ours) == path
        snapshot = huggingface_hub.snapshot_download(repo, cache_dir=ours, local_files_only=True)
        assert pathlib.Path(path).parent == pathlib.Path(snapshot), (path, snapshot)
        found = huggingface_hub.scan_cache_dir(ours)
        assert not found.warnings and [entry.repo_id for entry in found.repos] == [repo], found
        [revision] = next(iter(found.repos)).revisions
        assert revision.refs == {"main"} and file in {entry.file_name for entry in revision.files}, revision
    print(f"huggingface_hub {huggingface_hub.__version__}: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
