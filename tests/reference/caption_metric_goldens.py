"""Writes tests/goldens/caption_metrics.json: captions, and what the public implementations of the measures make of them.

Needs pycocoevalcap 1.2 and nltk 3.10.4. Captions are words with spaces between them, so that no tokenizer comes in.
"""

import json
import pathlib
import random

from nltk.stem.snowball import SnowballStemmer
from nltk.translate.meteor_score import meteor_score
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

OUT = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "caption_metrics.json"


class NoSynonyms:
    """In WordNet's place: METEOR's third stage finds nothing."""

    def synsets(self, word):
        return []


WORDS = ("a the two three red blue cat cats dog dogs running runs ran house houses on beside under left right of and "
         "sleeping sleeps sleep tree trees small smaller smallest cup cups with near standing stands happily happy").split()


def made_up(source, count):
    """Pictures with 1 to 5 references each; candidates are references with words dropped, doubled, moved or swapped."""
    pairs = []
    for _ in range(count):
        base = [source.choice(WORDS) for _ in range(source.randint(1, 14))]

        def varied():
            words = list(base)
            for _ in range(source.randint(0, 4)):
                at = source.randrange(len(words))
                kind = source.randrange(4)
                if kind == 0 and len(words) > 1:
                    del words[at]
                elif kind == 1:
                    words.insert(at, words[at])
                elif kind == 2:
                    words[at] = source.choice(WORDS)
                else:
                    words.insert(source.randrange(len(words)), words.pop(at))
            return " ".join(words)

        pairs.append({"candidate": varied(), "references": [varied() for _ in range(source.randint(1, 5))]})
    return pairs


SETS = {
    "written": [
        {"candidate": "a cat on a mat", "references": ["a cat sits on a mat", "there is a cat on the mat"]},
        {"candidate": "two dogs running", "references": ["two dogs run", "dogs running in a field"]},
        {"candidate": "a red cup", "references": ["a red cup"]},
        {"candidate": "nothing alike here", "references": ["zebra crossing road"]},
        {"candidate": "the the the the the the the", "references": ["the cat is on the mat", "there is a cat on the mat"]},
        {"candidate": "café près du lac", "references": ["un café près du lac bleu"]},
    ],
    "one": [{"candidate": "a cat", "references": ["a cat", "a small cat"]}],
    "random": made_up(random.Random(7), 60),
}


def scores(pairs):
    candidates = {i: [pair["candidate"]] for i, pair in enumerate(pairs)}
    references = {i: pair["references"] for i, pair in enumerate(pairs)}
    stemmer = SnowballStemmer("english")
    meteor = [
        meteor_score([r.split() for r in pair["references"]], pair["candidate"].split(), preprocess=lambda word: word,
                     stemmer=stemmer, wordnet=NoSynonyms()) for pair in pairs
    ]
    return {
        "bleu": Bleu(4).compute_score(references, candidates, verbose=0)[0],
        "rougeL": float(Rouge().compute_score(references, candidates)[0]),
        "ciderD": float(Cider().compute_score(references, candidates)[0]),
        "meteor": sum(meteor) / len(meteor),
        "exact": sum(pair["candidate"] in pair["references"] for pair in pairs) / len(pairs),
    }


golden = {name: {"pairs": pairs, "scores": scores(pairs)} for name, pairs in SETS.items()}
OUT.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
print(OUT, {name: entry["scores"] for name, entry in golden.items()})
