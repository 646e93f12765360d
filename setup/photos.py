#!/usr/bin/env python3
"""Fetches the test photographs that tests/reference/photo_set.tsv names into deps/photos/.

Downloads the pinned Debian packages without installing them, takes out the named pictures, and compares each with its
sha256. Needs Python 3.9, apt-get and dpkg-deb; a second run downloads nothing.
"""

import hashlib
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests/reference/photo_set.tsv"
FOLDER = ROOT / "deps/photos"


def fail(message):
    sys.exit(f"photos: {message}")


def rows():
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, package, version, path, digest, _, _ = line.split("\t")
            yield name, package, version, path, digest


def resource_file(data, wanted):
    """The content of one file in a Qt resource file (.rcc): a tree of nodes, a block of names, a block of contents."""
    magic, version, tree, contents, names = struct.unpack_from(">4sIIII", data)
    if magic != b"qres":
        fail("a resource file of the package has an unknown format")
    node_size = 22 if version >= 2 else 14

    def name_of(node):
        offset = names + struct.unpack_from(">I", data, tree + node_size * node)[0]
        length = struct.unpack_from(">H", data, offset)[0]
        return data[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be")

    node = 0
    for part in wanted.split("/"):
        flags, count, first = struct.unpack_from(">HII", data, tree + node_size * node + 4)
        children = range(first, first + count) if flags & 2 else ()
        node = next((child for child in children if name_of(child) == part), None)
        if node is None:
            fail(f"{wanted} is not in the package's resource file")
    flags, _, _, offset = struct.unpack_from(">HHHI", data, tree + node_size * node + 4)
    length = struct.unpack_from(">I", data, contents + offset)[0]
    content = data[contents + offset + 4 : contents + offset + 4 + length]
    return zlib.decompress(content[4:]) if flags & 1 else content


def is_there(name, digest):
    path = FOLDER / name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def main():
    missing = [row for row in rows() if not is_there(row[0], row[4])]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for package, version in sorted({(row[1], row[2]) for row in missing}):
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            os.chmod(folder, 0o755)
            print(f"photos: downloading {package} {version}", flush=True)
            if subprocess.run(["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", f"{package}={version}"], cwd=folder).returncode != 0:
                fail(f"{package} {version} could not be downloaded; run 'apt-get update' and try again")
            (archive,) = pathlib.Path(folder).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
            for name, _, _, path, digest in [row for row in missing if row[1] == package]:
                file, _, inner = path.partition("!")
                content = (pathlib.Path(folder) / file).read_bytes()
                if inner:
                    content = resource_file(content, inner)
                if hashlib.sha256(content).hexdigest() != digest:
                    fail(f"{path} of {package} {version} does not have the sha256 of {TABLE.name}")
                part = FOLDER / f"{name}.part"
                part.write_bytes(content)
                part.replace(FOLDER / name)
    print(f"photos: {FOLDER} is up to date")


if __name__ == "__main__":
    main()
