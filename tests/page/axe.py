"""axe-core, which judges how accessible a page is: fetched from npm's registry by npm, in this version alone, into a folder that
is not in the repository."""

import base64
import hashlib
import pathlib
import shutil
import subprocess
import tarfile

VERSION = "4.14.1"
# Of the package as npm's registry has it.
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="


def source(folder):
    """The script; `folder` keeps the package."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / f"axe-core-{VERSION}.tgz"
    if not package.exists():
        if not shutil.which("npm"):
            raise SystemExit("npm is missing, which fetches axe-core: apt-get install npm")
        command = ["npm", "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if found != SHA512:
        package.unlink()
        raise SystemExit(f"{package.name} has the hash {found}, expected {SHA512}: it was removed")
    with tarfile.open(package) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()
