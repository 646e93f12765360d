#!/usr/bin/env python3
"""Writes tests/goldens/retrieval/gitignore.tsv: what git itself says of paths under patterns.

Each line: patterns (joined by spaces within <...>), path ("/" at the end: a folder), 1 when git ignores it.
Run from the root of the repository: python3 tests/reference/gitignore_goldens.py
"""
import pathlib
import subprocess
import tempfile

PATTERNS = [
    ["*.log"], ["/build"], ["build/"], ["build"], ["doc/*.txt"], ["/doc/*.txt"], ["**/foo"], ["**/foo/bar"], ["a/**/b"],
    ["abc/**"], ["a/**"], ["*.t[xz]t"], ["[!a]b"], ["[^a]b"], ["[a-c]x"], ["[]]x"], ["[a-]x"], ["\\#x"], ["\\!x"],
    ["x\\ "], ["x "], ["#x"], ["*.txt", "!keep.txt"], ["/*", "!/doc", "/doc/*", "!/doc/b.txt"], ["foo/"], ["foo/*"],
    ["*"], ["**"], ["a*b*c"], ["a?c"], ["a/?/b"], ["x[a-z][0-9]"], ["[[:digit:]]x"], ["[[:alpha:]_]x"], ["foo**bar"],
    ["a**/b"], ["***/b"], ["a\\*b"], ["a\\[b"], ["[ab"], ["/"], ["/**/b"], ["doc/"], ["*/b"], ["a/b/"], ["a/b"],
    ["*.TXT"], ["a//b"], ["./a"], ["b", "!a/b"], ["!b", "b"], ["a/**/", "!x"], ["**/a/**/b"], ["*a*a*a*a*b"],
]
PATHS = [
    "x.log", "a/x.log", "build", "build/", "a/build", "a/build/", "a/build/x", "doc/a.txt", "doc/b.txt", "doc/x/a.txt",
    "a/doc/a.txt", "foo", "foo/", "a/foo", "foo/bar", "a/foo/bar", "a/b", "a/b/", "a/x/b", "a/x/y/b", "x/a/b", "x/a/y/b",
    "abc/x", "abc/x/y", "a.txt", "a.tzt", "a.TXT", "bb", "ab", "ax", "bx", "dx", "]x", "-x", "#x", "!x", "x ", "x",
    "keep.txt", "a/keep.txt", "abc", "axbxc", "ab/c", "a/c", "a/xx/b", "xk5", "xkk", "5x", "_x", "fooxbar", "foo/x/bar",
    "a*b", "a[b", "[ab", "b", "b/", "aaaaaaaaaaaaaaaaaaaaaaaac", "aaaaaaaab",
]


def batches(paths):
    """Groups in which no file's path is also a folder."""
    groups = []
    for path in paths:
        for group in groups:
            bare = path.rstrip("/")
            if not any(other.rstrip("/") == bare or other.startswith(bare + "/") and not path.endswith("/")
                       or bare.startswith(other + "/") and not other.endswith("/") for other in group):
                group.append(path)
                break
        else:
            groups.append([path])
    return groups


def ask(patterns, paths):
    ignored = set()
    for group in batches(paths):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            subprocess.run(["git", "init", "-q", folder], check=True)
            (root / ".gitignore").write_text("\n".join(patterns) + "\n")
            for path in group:
                target = root / path
                (target if path.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
                if not path.endswith("/"):
                    target.write_text("")
            run = subprocess.run(["git", "-c", "core.excludesFile=", "check-ignore", "-z", "--stdin"], cwd=folder,
                                 input="".join(path.rstrip("/") + "\0" for path in group), capture_output=True, text=True)
            said = set(run.stdout.split("\0"))
            ignored.update(path for path in group if path.rstrip("/") in said)
    return [path in ignored for path in paths]


def main():
    out = pathlib.Path("tests/goldens/retrieval/gitignore.tsv")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w") as file:
        for patterns in PATTERNS:
            for path, ignored in zip(PATHS, ask(patterns, PATHS)):
                file.write("\t".join(["|".join(patterns), path, str(int(ignored))]) + "\n")


if __name__ == "__main__":
    main()
