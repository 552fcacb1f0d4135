#!/usr/bin/env python3
"""Sees that the trials of packages can fail: prove.py test

A file that is left behind, one that is changed, a wrong answer, a program that fails, a hash that is another, and a
layer with one other byte: each must end its trial.
"""

import contextlib
import io
import json
import pathlib
import tempfile

import house
import oci
import sums


def ends(what, trial):
    """Runs a trial that must end with a sentence."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            trial()
    except SystemExit as end:
        house.say(f"{what}: {end.code}".replace("    FAILED: ", "").replace(str(house.ROOT) + "/", ""))
        return
    house.fail(f"{what}: the trial passed")


def left_behind():
    with house.Trial("prove", "x") as trial:
        trial.before()
        (trial.root / "usr").mkdir()
        trial.after()


def changed():
    with house.Trial("prove", "x") as trial:
        trial.before()
        (trial.root / "models/demo.gguf").write_bytes(b"")
        trial.after()


def wrong_answer():
    with house.Trial("prove", "x") as trial:
        trial.heard("London\n")


def failing():
    house.run(["false"])


def wrong_hash():
    with tempfile.TemporaryDirectory() as folder:
        dist, house.DIST = house.DIST, pathlib.Path(folder)
        try:
            (house.DIST / f"a-{house.VERSION}.tgz").write_bytes(b"one")
            with contextlib.redirect_stdout(io.StringIO()):
                sums.build()
            (house.DIST / f"a-{house.VERSION}.tgz").write_bytes(b"two")
            sums.test()
        finally:
            house.DIST = dist


def other_layer():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for path, data in oci.image(house.platforms(oci=True)[0]).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        index = json.loads((folder / "index.json").read_bytes())
        [layer] = json.loads(oci.checked(folder, index["manifests"][0]))["layers"]
        blob = folder / "blobs" / layer["digest"].replace(":", "/")
        data = bytearray(blob.read_bytes())
        data[1000] ^= 1
        blob.write_bytes(data)
        oci.checked(folder, layer)


def test():
    print("prove: each of these must end a trial", flush=True)
    for trial in (left_behind, changed, wrong_answer, failing, wrong_hash, other_layer):
        ends(trial.__name__.replace("_", " "), trial)


if __name__ == "__main__":
    house.door(lambda: None, test)
