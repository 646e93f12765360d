"""Makes retrieval sets, as BEIR has them, of texts that ship with Debian 12: corpus.jsonl, queries.jsonl, qrels.tsv.

manuals:   2,000 manual pages of pinned packages. Query: what a page's NAME line says after the name. Answer: its page.
unnamed:   the same pages without their NAME sections, which hold the query word for word.
packages:  5,000 package descriptions of apt's English lists. Query: the short one. Answer: the long one.
manuals-tuning, unnamed-tuning, packages-tuning: 700 other pages, 2,000 other packages, for choosing settings on.

Usage: retrieval_sets.py FOLDER. Downloads (apt-get, 30 MB) are kept in FOLDER/apt; nothing is installed. Needs groff.
"""

import concurrent.futures
import gzip
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

# What the reported pages come from, in this order; the last one, and more of it, is for tuning too: 2,775 have a
# NAME line of their own.
PACKAGES = ["manpages=6.03-2", "manpages-dev=6.03-2", "coreutils=9.1-1", "tcl8.6-doc=8.6.13+dfsg-2",
            "tk8.6-doc=8.6.13-2", "ncurses-doc=6.4-4", "freebsd-manpages=12.2-1"]
PAGES, TUNING_PAGES = 2000, 700
DESCRIPTIONS, TUNING_DESCRIPTIONS = 5000, 2000


def apt(folder):
    """A private apt with the system's sources; lists and downloads are under `folder`. Returns the options for it."""
    for name in ("lists/partial", "cache", "debs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = {"Dir::State::lists": folder / "lists", "Dir::Cache": folder / "cache",
               "Acquire::Languages": "en", "APT::Sandbox::User": "", "Debug::NoLocking": "1",
               "APT::Update::Post-Invoke-Success::": "", "APT::Update::Post-Invoke::": ""}
    arguments = [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]
    if not list((folder / "lists").glob("*_dists_bookworm_main_i18n_Translation-en*")):
        subprocess.run(["apt-get", *arguments, "-q", "update"], check=True, stdout=sys.stderr)
    return arguments


def number_of(text):
    """An order that depends on the text alone."""
    return hashlib.sha256(text.encode()).hexdigest()


def pages_of(folder, arguments):
    """(package, page file) of every manual page, in the packages' order, then by digest of the name."""
    pages = []
    for pin in PACKAGES:
        package = pin.split("=")[0]
        unpacked = folder / package
        if not unpacked.exists():
            subprocess.run(["apt-get", *arguments, "-q", "download", pin], check=True, stdout=sys.stderr,
                           cwd=folder / "debs")
            deb = next((folder / "debs").glob(f"{package}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
        files = [path for path in (unpacked / "usr/share/man").glob("man*/*.gz") if not path.is_symlink()]
        pages += [(package, path) for path in sorted(files, key=lambda path: number_of(path.name))]
    return pages


def render(path):
    """The page as a terminal shows it, without marks, in lines of up to 100 columns; empty for a mere reference."""
    kept = path.with_suffix(".txt")
    if kept.exists():
        return kept.read_text(encoding="utf-8")
    source = gzip.decompress(path.read_bytes())
    if source.lstrip().startswith(b".so "):
        return ""
    # -K: the page's encoding; -t: tables; -P-cbou: no overstriking, bold or underlining; LL: the line's length.
    done = subprocess.run(["groff", "-t", "-Kutf8", "-Tutf8", "-mandoc", "-P-cbou", "-rLL=100n"], input=source,
                          capture_output=True, check=False)
    kept.write_text(done.stdout.decode("utf-8", "replace"), encoding="utf-8")
    return kept.read_text(encoding="utf-8")


def name_section(text):
    """(what the NAME section says after the name, the text without that section); None when it has none."""
    found = re.search(r"^NAME\n(?P<body>(?:[ \t]+.*\n|\n)+)", text, re.MULTILINE)
    if not found:
        return None
    body = " ".join(found["body"].split())
    parts = re.split(r" (?:-|–|—|‐|−)+ ", body, maxsplit=1)
    if len(parts) != 2 or len(parts[1].split()) < 2:
        return None
    return parts[1], text[:found.start()] + text[found.end():]


def manuals(folder, arguments):
    pages = pages_of(folder, arguments)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(lambda page: render(page[1]), pages))
    rows, names, queries = [], set(), set()
    for (package, path), text in zip(pages, texts):
        section = name_section(text)
        name = path.name.removesuffix(".gz")
        # Two pages of one name or one description: nobody could say which is meant.
        if section is None or len(text) < 400 or name.split(".")[0].lower() in names or section[0].lower() in queries:
            continue
        names.add(name.split(".")[0].lower())
        queries.add(section[0].lower())
        lines = "\n".join(line.rstrip() for line in text.split("\n"))
        rest = "\n".join(line.rstrip() for line in section[1].split("\n"))
        rows.append({"id": name, "query": section[0], "text": lines.strip() + "\n", "rest": rest.strip() + "\n"})
    if len(rows) < PAGES + TUNING_PAGES:
        sys.exit(f"only {len(rows)} manual pages have a NAME line of their own; {PAGES + TUNING_PAGES} are needed")
    return rows[:PAGES], rows[PAGES:PAGES + TUNING_PAGES]


def packages(folder):
    lists = list((folder / "lists").glob("*_dists_bookworm_main_i18n_Translation-en*"))
    if len(lists) != 1:
        sys.exit("apt has no English descriptions of Debian 12's main: its sources have no suite of the name bookworm")
    text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", lists[0]], check=True,
                          capture_output=True).stdout.decode()
    rows, queries, longs = [], set(), set()
    for entry in text.split("\n\n"):
        found = re.match(r"Package: (\S+)\nDescription-md5: \S+\nDescription-en: (.+)\n((?: .*\n?)+)", entry + "\n")
        if not found:
            continue
        name, short, long_lines = found.groups()
        long = "\n".join("" if line.strip() == "." else line[1:] for line in long_lines.rstrip("\n").split("\n"))
        rows.append({"id": name, "query": short, "text": long + "\n"})
    rows.sort(key=lambda row: number_of(row["id"]))
    unique = []
    for row in rows:
        if row["query"].lower() in queries or row["text"] in longs:
            continue
        queries.add(row["query"].lower())
        longs.add(row["text"])
        unique.append(row)
    return unique[:DESCRIPTIONS], unique[DESCRIPTIONS:DESCRIPTIONS + TUNING_DESCRIPTIONS]


def write(folder, rows, text):
    folder.mkdir(parents=True, exist_ok=True)

    def lines(name, values):
        content = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
        (folder / name).write_text(content, encoding="utf-8")
        return content

    corpus = lines("corpus.jsonl", ({"_id": row["id"], "title": "", "text": row[text]} for row in rows))
    lines("queries.jsonl", ({"_id": row["id"], "text": row["query"]} for row in rows))
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{row['id']}\t{row['id']}\t1\n" for row in rows), encoding="utf-8")
    print(f"{folder.name}: {len(rows)} documents, {len(corpus)} characters, {number_of(corpus)[:16]}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1]).absolute()
    arguments = apt(folder / "apt")
    reported, tuning = manuals(folder / "apt", arguments)
    write(folder / "manuals", reported, "text")
    write(folder / "manuals-tuning", tuning, "text")
    write(folder / "unnamed", reported, "rest")
    write(folder / "unnamed-tuning", tuning, "rest")
    reported, tuning = packages(folder / "apt")
    write(folder / "packages", reported, "text")
    write(folder / "packages-tuning", tuning, "text")


if __name__ == "__main__":
    main()
