"""Measures searches on the sets that retrieval_sets.py makes: by both, by words, by meaning.

Ends with an error when a search by both has more than 0.01 of nDCG@10 less than the better of its parts, or a measure
is more than 0.005 below what retrieval.tsv beside this file says of the set, if there is one.

Usage: retrieval_eval.py [--write] BLAZON FOLDER [SET...]. Default: manuals packages. --write puts what was measured
into retrieval.tsv. Collections are kept in FOLDER/SET/collection; an import that was interrupted goes on. FLAGS
(environment) go to every command, such as FLAGS='--dtype fp32'.
"""

import csv
import json
import os
import pathlib
import subprocess
import sys

MEASURES = {"ndcg_at_10": "nDCG@10", "recall_at_100": "recall@100", "reciprocal_rank": "MRR"}
TABLE = pathlib.Path(__file__).with_name("retrieval.tsv")


def run(program, *arguments):
    done = subprocess.run([program, *os.environ.get("FLAGS", "").split(), "--json", "index", *map(str, arguments)],
                          check=True, stdout=subprocess.PIPE, env=dict(os.environ, OMP_WAIT_POLICY="PASSIVE"))
    return json.loads(done.stdout)


def expected():
    """{(set, search): {measure: value}} of retrieval.tsv."""
    if not TABLE.exists():
        return {}
    with open(TABLE, encoding="utf-8", newline="") as file:
        return {(row.pop("set"), row.pop("search")): {name: float(value) for name, value in row.items()}
                for row in csv.DictReader(file, delimiter="\t")}


def write(measures):
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write("\t".join(["set", "search", *MEASURES]) + "\n")
        for (name, mode), row in measures.items():
            file.write("\t".join([name, mode, *(f"{row[measure]:.4f}" for measure in MEASURES)]) + "\n")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    if len(arguments) < 2:
        sys.exit(__doc__)
    blazon, folder = pathlib.Path(arguments[0]).absolute(), pathlib.Path(arguments[1])
    committed, found, faults = expected(), {}, []
    print("| set | documents | chunks | search | nDCG@10 | recall@100 | MRR |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments[2:] or ["manuals", "packages"]:
        files = folder / name
        collection = files / "collection"
        run(blazon, "import", "--collection", collection, files / "corpus.jsonl")
        stats = run(blazon, "stats", "--collection", collection)["collection"]
        ndcg = {}
        for mode in ("both", "words", "meaning"):
            measured = run(blazon, "eval", "--collection", collection, "--queries", files / "queries.jsonl", "--qrels",
                           files / "qrels.tsv", "--mode", mode)
            ndcg[mode] = measured["ndcg_at_10"]
            found[name, mode] = measured
            print(f"| {name} | {int(stats['documents']):,} | {int(stats['chunks']):,} | {mode} | "
                  f"{' | '.join(f'{measured[measure]:.4f}' for measure in MEASURES)} |", flush=True)
            for measure, value in committed.get((name, mode), {}).items():
                if measured[measure] < value - 0.005:
                    faults.append(f"{name}, {mode}: {MEASURES[measure]} is {measured[measure]:.4f} and was {value:.4f}")
        if ndcg["both"] < max(ndcg["words"], ndcg["meaning"]) - 0.01:
            faults.append(f"{name}: searching by both is worse than by one of its parts")
    if "--write" in sys.argv:
        write({**committed, **found})
    elif faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
