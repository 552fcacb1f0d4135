#!/usr/bin/env python3
"""A container image from scratch: oci.py build|test

dist/qwen-edge-VERSION-oci-ARCH.tar.gz is an OCI image layout with one layer: the program, its licences, and nothing
else, not even a shell. It runs as a user without rights; models are mounted at /models:

    podman load -i qwen-edge-0.1.0-oci-amd64.tar.gz
    podman run --rm -v ./models:/models qwen-edge:0.1.0 run /models/model.gguf "Why is the sky blue?"
"""

import gzip
import io
import json
import pathlib
import shutil
import tarfile
import tempfile
import time

import house

MOST = 12_000_000
USER = "65532:65532"


def name(platform):
    return f"{house.NAME}-{house.VERSION}-oci-{platform.oci}.tar.gz"


def layer(platform):
    files = {"usr/bin/qwen-edge": (platform.binary.read_bytes(), 0o755)}
    files |= {f"usr/share/doc/qwen-edge/{path}": (data, 0o644) for path, data in house.licences().items()}
    files["etc/passwd"] = (b"qwen-edge:x:65532:65532::/models:/\n", 0o644)
    files["etc/group"] = (b"qwen-edge:x:65532:\n", 0o644)
    return house.tar(files)


def image(platform):
    """The files of an image layout."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(house.epoch()))
    plain = layer(platform)
    packed = house.compress(plain)
    labels = {
        "org.opencontainers.image.title": house.NAME,
        "org.opencontainers.image.description": house.SUMMARY,
        "org.opencontainers.image.version": house.VERSION,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        "org.opencontainers.image.source": house.HOMEPAGE,
        "org.opencontainers.image.created": created,
    }
    config = {
        "created": created,
        "architecture": platform.oci,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": {"8080/tcp": {}},
            "Env": ["PATH=/usr/bin", "HOME=/models"],
            "Entrypoint": ["/usr/bin/qwen-edge"],
            "Cmd": ["--help"],
            "WorkingDir": "/models",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{house.sha256(plain)}"]},
        "history": [{"created": created, "created_by": "scripts/packages/oci.py"}],
    }
    blobs = {}

    def blob(data, kind):
        digest = house.sha256(data)
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    def text(value):
        return json.dumps(value, separators=(",", ":")).encode()

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(text(config), "config.v1+json"),
        "layers": [blob(packed, "layer.v1.tar+gzip")],
        "annotations": labels,
    }
    entry = blob(text(manifest), "manifest.v1+json")
    entry["platform"] = {"architecture": platform.oci, "os": "linux"}
    entry["annotations"] = {
        "org.opencontainers.image.ref.name": house.VERSION,
        "io.containerd.image.name": f"localhost/{house.NAME}:{house.VERSION}",
    }
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    return {"oci-layout": text({"imageLayoutVersion": "1.0.0"}), "index.json": text(index), **blobs}


def build():
    for platform in house.platforms(oci=True):
        files = {path: (data, 0o644) for path, data in image(platform).items()}
        # The layer is packed already.
        data = house.compress(house.tar(files), 1)
        if len(data) > MOST:
            house.fail(f"{name(platform)}: {len(data)} bytes, more than {MOST}")
        house.write(name(platform), data)


def checked(folder, descriptor):
    """The bytes that a descriptor names, if they are the ones."""
    data = (folder / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    if f"sha256:{house.sha256(data)}" != descriptor["digest"] or len(data) != descriptor["size"]:
        house.fail(f"{descriptor['digest']}: other bytes")
    return data


def test():
    for platform in house.platforms(oci=True):
        file = house.DIST / name(platform)
        with house.Trial("container", file.name) as trial, tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            house.say(f"{file.name}: {file.stat().st_size:,} bytes, at most {MOST:,}")
            if file.stat().st_size > MOST:
                house.fail("larger than it may be")
            with tarfile.open(file) as archive:
                house.unpack(archive, folder)
            trial.before()
            index = json.loads((folder / "index.json").read_bytes())
            manifest = json.loads(checked(folder, index["manifests"][0]))
            config = json.loads(checked(folder, manifest["config"]))
            unpacked = []
            for descriptor, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
                plain = gzip.decompress(checked(folder, descriptor))
                if f"sha256:{house.sha256(plain)}" != diff:
                    house.fail("the layer is not the one that the config names")
                with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
                    house.unpack(archive, trial.root)
                    unpacked += archive.getnames()
            house.say("its layer holds", ", ".join(n for n in unpacked if (trial.root / n).is_file()))
            [entry] = config["config"]["Entrypoint"]
            house.say(f"entry point {entry} as user {config['config']['User']}")
            trial.first_answer(platform, entry, user=config["config"]["User"])
            for path in sorted(unpacked, reverse=True):
                target = trial.root / path
                target.rmdir() if target.is_dir() else target.unlink()
            trial.after()
            others(folder, file)


def others(folder, file):
    """What other programs say of the image, where they are installed."""
    if shutil.which("skopeo"):
        house.run(
            [
                "skopeo",
                "inspect",
                "--format",
                "{{.Name}} {{.Architecture}} {{.Os}} {{.Digest}}",
                f"oci:{folder}:{house.VERSION}",
            ]
        )
    if shutil.which("umoci"):
        bundle = folder / "bundle"
        house.run(["umoci", "unpack", "--rootless", "--image", f"{folder}:{house.VERSION}", bundle])
        if not (bundle / "rootfs/usr/bin/qwen-edge").is_file():
            house.fail("umoci unpacks no program")


if __name__ == "__main__":
    house.door(build, test)
