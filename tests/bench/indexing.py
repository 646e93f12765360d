"""Indexes the same files with Blazon and with a pipeline of Python packages, in turns, and compares chunks a second.

Python's pipeline is what a person would write with sentence-transformers, faiss-cpu and SQLite: read the files,
embed the chunks in fp32 by SentenceTransformer.encode with its defaults (batches of 32, sorted by length), add to an
IndexFlatIP and to an FTS5 table, write both. It is given the chunks that Blazon made ('index export'), so that both
embed the same texts, and its clock starts when the packages are imported and the model is loaded. Blazon's time is
that of the whole command: start, model, parsing, cutting, embedding, and a commit that survives a crash. Both have
THREADS threads, one runs at a time. The least cosine between vectors of both is printed, too.

Usage: indexing.py compare BLAZON FOLDER [--rounds 3] [--threads 2], which needs the Python packages, or
       indexing.py sizes BLAZON FOLDER...: time and bytes on disk, of Blazon alone, or
       indexing.py bible FOLDER: writes the King James text of Debian's bible-kjv 4.38 there, a file a book: FOLDER/kjv
       has all, FOLDER/begin the first two; downloads are kept in FOLDER/../apt; or
       indexing.py doc FOLDER [COUNT]: copies COUNT (10,000) files of /usr/share/doc of up to 16 kB, those of Debian's
       libboost1.74-doc first, then this machine's; downloads are kept in FOLDER/../apt.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

DOCUMENTATION = "libboost1.74-doc=1.74.0+ds1-21"


def absolute(path):
    return pathlib.Path(path).absolute()


def blazon(arguments, threads=0):
    """Seconds that a command takes; what it prints on standard error is shown when it fails."""
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    flags = ["--threads", str(threads)] if threads else []
    started = time.monotonic()
    done = subprocess.run([str(argument) for argument in arguments[:1] + flags + arguments[1:]], check=False,
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seconds = time.monotonic() - started
    if done.returncode != 0 and b"left out" not in done.stderr:  # files that cannot be read are no failure here
        sys.exit(done.stderr.decode(errors="replace")[-2000:])
    return seconds


def stats(program, collection):
    done = subprocess.run([program, "--json", "index", "stats", "--collection", collection], check=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout)["collection"]


def python_pipeline(model, documents, folder, out):
    """Seconds from the files to an index on disk."""
    import faiss

    started = time.monotonic()
    texts, words = [], []
    for document in documents:
        text = (folder / document["path"]).read_bytes().decode("utf-8").encode()
        for chunk in document["chunks"]:
            piece = text[chunk["begin"]:chunk["end"]].decode("utf-8")
            texts.append(chunk["prefix"] + piece)
            words.append((document["title"], piece))
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(out / "vectors.faiss"))
    database = sqlite3.connect(out / "words.db")
    database.execute("CREATE VIRTUAL TABLE words USING fts5(title, text, tokenize = 'porter unicode61')")
    database.executemany("INSERT INTO words VALUES (?, ?)", words)
    database.commit()
    database.close()
    return time.monotonic() - started, vectors


def compare(options):
    try:
        import faiss
        import numpy
        import sentence_transformers
        import torch
    except ImportError as error:
        sys.exit(f"{error}; the comparison needs the packages sentence-transformers and faiss-cpu (PYTHON=... has them)")
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    model = sentence_transformers.SentenceTransformer(str(options.model), device="cpu")
    with tempfile.TemporaryDirectory() as name:
        out = pathlib.Path(name)
        blazon([options.blazon, "index", "add", "--collection", out / "first", options.folder], options.threads)
        blazon([options.blazon, "index", "export", "--collection", out / "first", "--to", out / "export"])
        with open(out / "export" / "documents.jsonl", encoding="utf-8") as lines:
            documents = [json.loads(line) for line in lines]
        exported = numpy.load(out / "export" / "vectors.npy")
        seconds = {"Blazon": [], "Python": []}
        cosine = 1.0
        for turn in range(options.rounds):
            seconds["Blazon"].append(
                blazon([options.blazon, "index", "add", "--collection", out / f"own-{turn}", options.folder],
                       options.threads))
            python_out = out / f"python-{turn}"
            python_out.mkdir()
            taken, vectors = python_pipeline(model, documents, options.folder, python_out)
            seconds["Python"].append(taken)
            cosine = min(cosine, float((exported * vectors).sum(1).min()))
    chunks = len(exported)
    print(f"{len(documents)} files, {chunks} chunks, {options.threads} threads; sentence-transformers "
          f"{sentence_transformers.__version__}, torch {torch.__version__}, faiss {faiss.__version__}")
    print("| pipeline | chunks/s, median | each turn |\n| --- | --- | --- |")
    medians = {}
    for side, values in seconds.items():
        medians[side] = chunks / statistics.median(values)
        print(f"| {side} | {medians[side]:.1f} | {', '.join(f'{chunks / value:.1f}' for value in values)} |")
    ratio = medians["Blazon"] / medians["Python"]
    print(f"ratio of the medians: {ratio:.2f}; least cosine of the vectors: {cosine:.5f}")
    if ratio < options.least_ratio:
        sys.exit(f"the ratio is below {options.least_ratio}")
    if cosine < 0.999:
        sys.exit("the vectors differ by more than a cosine of 0.999")


def sizes(options):
    print("| files | kept | MB | chunks | seconds | of processors | chunks/s | on disk, MB | again, seconds |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for folder in options.folders:
        with tempfile.TemporaryDirectory() as name:
            collection = pathlib.Path(name) / "collection"
            command = [options.blazon, "index", "add", "--collection", collection, folder]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = blazon(command)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            again = blazon(command)
            kept = stats(options.blazon, collection)
            files = [path for path in folder.rglob("*") if path.is_file()]
            bytes_on_disk = sum(path.stat().st_size for path in collection.rglob("*") if path.is_file())
            print(f"| {len(files):,} of {folder.name} | {int(kept['documents']):,} | "
                  f"{sum(path.stat().st_size for path in files) / 1e6:.1f} | {int(kept['chunks']):,} | {seconds:.1f} | "
                  f"{processor:.1f} | {int(kept['chunks']) / seconds:.0f} | {bytes_on_disk / 1e6:.1f} | "
                  f"{again:.1f} |", flush=True)


def bible(folder):
    import retrieval_sets

    apt = folder.parent / "apt"
    arguments = retrieval_sets.apt(apt)
    unpacked = apt / "bible"
    for package in ("bible-kjv=4.38", "bible-kjv-text=4.38"):
        subprocess.run(["apt-get", *arguments, "-q", "download", package], check=True, stdout=sys.stderr,
                       cwd=apt / "debs")
    for deb in (apt / "debs").glob("bible-kjv*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
    done = subprocess.run([unpacked / "usr/bin/bible", "-p", unpacked / "usr/lib", "-f", "gen1:1-rev22:21"], check=True,
                          stdout=subprocess.PIPE, env=dict(os.environ, COLUMNS="80"))
    books = {}
    for line in done.stdout.decode().splitlines():
        book, place, verse = re.fullmatch(r"(\d?[A-Za-z]+)(\d+:\d+) (.*)", line).groups()
        books.setdefault(book, []).append(f"{place} {verse}\n")
    if len(books) != 66:
        sys.exit(f"the text has {len(books)} books and not 66")
    for number, (book, lines) in enumerate(books.items()):
        for part in ("kjv", "begin") if number < 2 else ("kjv",):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{number + 1:02}-{book}.txt").write_text("".join(lines), encoding="utf-8")


def doc(folder, count):
    """Copies text files: those with the ending .gz unpacked, changelogs, copyrights and others without an ending as .txt."""
    import retrieval_sets

    apt = folder.parent / "apt"
    subprocess.run(["apt-get", *retrieval_sets.apt(apt), "-q", "download", DOCUMENTATION], check=True, stdout=sys.stderr,
                   cwd=apt / "debs")
    for deb in (apt / "debs").glob(DOCUMENTATION.split("=")[0] + "_*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, apt / "doc"], check=True)
    for source in (apt / "doc" / "usr/share/doc", pathlib.Path("/usr/share/doc")):
        for path in sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink()):
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            name = path.with_suffix("") if path.suffix == ".gz" else path
            if len(content) > 16000 or b"\0" in content:
                continue
            if count == 0:
                return
            kept = folder / name.relative_to(source)
            if name.suffix in ("", ".Debian"):
                kept = kept.with_name(kept.name + ".txt")
            if kept.exists():
                continue
            count -= 1
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(content)
    print(f"{folder}: {count} files short; this machine's /usr/share/doc has too few", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("blazon", type=absolute)
    comparing.add_argument("folder", type=absolute)
    comparing.add_argument("--model", type=pathlib.Path, default="models/all-minilm-l6-v2")
    comparing.add_argument("--rounds", type=int, default=3)
    comparing.add_argument("--threads", type=int, default=2)
    comparing.add_argument("--least-ratio", type=float, default=0)
    sizing = commands.add_parser("sizes")
    sizing.add_argument("blazon", type=absolute)
    sizing.add_argument("folders", type=absolute, nargs="+")
    text = commands.add_parser("bible")
    text.add_argument("folder", type=absolute)
    copying = commands.add_parser("doc")
    copying.add_argument("folder", type=absolute)
    copying.add_argument("count", type=int, nargs="?", default=10000)
    options = parser.parse_args()
    if options.command == "compare":
        compare(options)
    elif options.command == "sizes":
        sizes(options)
    elif options.command == "bible":
        bible(options.folder)
    else:
        doc(options.folder, options.count)


if __name__ == "__main__":
    main()
