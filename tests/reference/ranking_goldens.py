"""Makes tests/goldens/ranking.json: judgements and runs made at random, and what trec_eval says of them.

    pip install pytrec-eval-terrier==0.5.11
    python3 tests/reference/ranking_goldens.py
"""

import json
import pathlib
import random

import pytrec_eval

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "ranking.json"
MEASURES = {"ndcg_cut_10": "ndcg_at_10", "recall_100": "recall_at_100", "recip_rank": "reciprocal_rank"}


def make_case(chance, queries, documents, depth, scores):
    judgements, run = {}, {}
    names = [f"d{i}" for i in range(documents)]
    for q in range(queries):
        judged = chance.sample(names, chance.randint(1, min(documents, 40)))
        judgements[f"q{q}"] = {name: chance.choice([-1, 0, 1, 1, 2, 3]) for name in judged}
        judgements[f"q{q}"][judged[0]] = 1  # trec_eval has no opinion on a query without relevant documents
        ranked = chance.sample(names, min(documents, depth))
        run[f"q{q}"] = {name: float(chance.choice(scores)) for name in ranked}
    evaluator = pytrec_eval.RelevanceEvaluator(judgements, set(MEASURES))
    results = evaluator.evaluate(run).values()
    expected = {ours: sum(r[theirs] for r in results) / len(results) for theirs, ours in MEASURES.items()}
    return {"judgements": judgements, "run": run, "expected": expected}


def main():
    chance = random.Random(7)
    ties = [0.5, 1.0, 1.5]
    apart = [i / 1024 for i in range(1024)]
    cases = [make_case(chance, *shape) for shape in ((1, 5, 5, apart), (8, 12, 12, ties), (6, 60, 30, apart), (4, 130, 120, ties))]
    GOLDENS.write_text(json.dumps(cases, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
