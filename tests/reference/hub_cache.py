#!/usr/bin/env python3
"""The hub's cache folder as its public Python client makes it (tests/goldens/hub_cache.json), and both ways of sharing it.

    python tests/reference/hub_cache.py                          writes the golden
    python tests/reference/hub_cache.py --blazon build/blazon    also lets the client and Blazon use each other's caches

A hub on loopback serves a small model; its large file by a redirect to another port, as the real one does. Needs
huggingface_hub 2.4.0.
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "goldens/hub_cache.json"
REPOSITORY, COMMIT = "org/tiny", "0123456789abcdef0123456789abcdef01234567"
# name -> (content, whether it is kept by LFS); all of them are files that Blazon pulls.
FILES = {
    "1_Pooling/config.json": ('{"pooling_mode_mean_tokens": true}\n', False),
    "LICENSE": ("Do what you like.\n", False),
    "config.json": ('{"model_type": "tiny"}\n', False),
    "model.safetensors": ("not really weights, but kept by LFS\n" * 40, True),
    "tokenizer.json": ("{}\n", False),
    "tokenizer_config.json": ("{}\n", False),  # the same content: the same blob
}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def git_blob(text):
    return hashlib.sha1(b"blob %d\0" % len(text.encode()) + text.encode()).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    asked = []  # (method, path) of both servers
    storage = ""

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        Hub.asked.append((self.command, self.path))
        path = self.path.split("?")[0]
        prefix = f"/{REPOSITORY}/resolve/"
        if path == f"/api/models/{REPOSITORY}/revision/main":
            siblings = []
            for name, (text, large) in FILES.items():
                sibling = {"rfilename": name, "size": len(text), "blobId": git_blob(text)}
                if large:
                    sibling["lfs"] = {"sha256": sha256(text), "size": len(text), "pointerSize": 134}
                siblings.append(sibling)
            listing = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "gated": False, "tags": [],
                       "downloads": 0, "likes": 0, "cardData": {"license": "mit"}, "siblings": siblings}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(listing).encode())
        elif path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            tree = []
            for name, (text, large) in FILES.items():
                entry = {"type": "file", "path": name, "size": len(text), "oid": git_blob(text)}
                if large:
                    entry["lfs"] = {"oid": sha256(text), "size": len(text), "pointerSize": 134}
                tree.append(entry)
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(tree).encode())
        elif path.startswith(prefix) and path.split("/", 5)[5] in FILES:
            name = path.split("/", 5)[5]
            text, large = FILES[name]
            headers = {"X-Repo-Commit": COMMIT}
            if large:
                headers.update({"Location": f"{Hub.storage}/blobs/{name}", "X-Linked-Etag": f'"{sha256(text)}"',
                                "X-Linked-Size": str(len(text))})
                self.answer(302, headers, b"")
            else:
                self.answer(200, dict(headers, ETag=f'"{git_blob(text)}"'), text.encode())
        elif path.startswith("/blobs/"):
            text = FILES[path.removeprefix("/blobs/")][0]
            self.answer(200, {"ETag": f'"{sha256(text)}"'}, text.encode())
        else:
            self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def tree(cache):
    """path -> the target of a link, the text of a ref, or the SHA-256 of a blob. Left out: locks, which are empty, and what
    only this client keeps for itself (its list of a commit's files)."""
    found = {}
    for path in sorted(pathlib.Path(cache).rglob("*")):
        name = path.relative_to(cache).as_posix()
        if name.startswith(".locks") or name == "CACHEDIR.TAG" or "/trees/" in name or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        elif "/refs/" in name:
            found[name] = path.read_text()
        else:
            found[name] = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def asked_for_files(method="GET"):
    return [path for asked, path in Hub.asked if asked == method and ("/resolve/" in path or "/blobs/" in path)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blazon", help="the program; without it only the golden is written")
    options = parser.parse_args()
    Hub.storage = serve()
    endpoint = serve()
    import huggingface_hub

    def python_pull(cache, **more):
        return huggingface_hub.snapshot_download(REPOSITORY, cache_dir=cache, endpoint=endpoint, **more)

    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder) / "python"
        python_pull(cache)
        files = {name: {"content": text, "large": large} for name, (text, large) in FILES.items()}
        golden = {"made_with": f"huggingface_hub {huggingface_hub.__version__}", "repository": REPOSITORY, "commit": COMMIT,
                  "files": files, "tree": tree(cache)}
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
        print(f"{GOLDEN.name}: {len(golden['tree'])} paths")
        if not options.blazon:
            return

        def blazon_pull(cache):
            run = subprocess.run([options.blazon, "models", "pull", "--json", "--endpoint", endpoint, REPOSITORY],
                                 env=dict(os.environ, HF_HUB_CACHE=str(cache)), capture_output=True, text=True, check=True)
            return json.loads(run.stdout)

        Hub.asked.clear()
        pulled = blazon_pull(cache)
        assert pulled["fetched_bytes"] == 0 and not asked_for_files(), Hub.asked
        print("Blazon fetches nothing of what the Python client fetched")

        ours = pathlib.Path(folder) / "blazon"
        pulled = blazon_pull(ours)
        assert tree(ours) == golden["tree"], (tree(ours), golden["tree"])
        print("Blazon's cache is the Python client's, path by path")
        Hub.asked.clear()
        found = python_pull(ours)
        assert found == pulled["path"] and not asked_for_files(), Hub.asked
        print("the Python client fetches nothing of what Blazon fetched")
        Hub.asked.clear()
        config = huggingface_hub.hf_hub_download(REPOSITORY, "config.json", cache_dir=ours, local_files_only=True)
        assert pathlib.Path(config).read_text() == FILES["config.json"][0] and not Hub.asked
        print("the Python client finds Blazon's files without the network")


if __name__ == "__main__":
    main()
