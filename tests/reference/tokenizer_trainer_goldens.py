"""Makes tests/goldens/tokenizer_trainer.json with the `tokenizers` package, for tests/language/tokenizer_trainer_test.

python tests/reference/tokenizer_trainer_goldens.py

The texts are the sample documents, many of the strings that tokenizers get wrong, and runs of one letter, in which
merges overlap. For each case: the tokens by id, the merges, and the ids of some strings. Needs: tokenizers.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenizer_texts import TEXTS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted((ROOT / "assets" / "documents").iterdir())[:8]
RUNS = ["aaaa aaa aaaaaaa aa", "abababab abab ababab", "abcabc bcabca cababc", "xyxxyyxy xxyy", "a" * 999, "ab" * 300]


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def bpe(texts, vocabulary_size, min_frequency, special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary_size, min_frequency=min_frequency, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def word(texts, vocabulary_size, min_frequency, special):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(
        vocab_size=vocabulary_size, min_frequency=min_frequency, special_tokens=special, show_progress=False))
    return tokenizer


def main():
    documents = [path.read_text() for path in DOCUMENTS]
    strings = TEXTS[::12] + RUNS
    sets = {"documents": documents, "strings": TEXTS, "runs": RUNS}
    end = "<|endoftext|>"
    cases = [("bpe", "documents", 1500, 2, [end]), ("bpe", "documents", 2500, 3, []), ("bpe", "strings", 900, 2, [end, "<|im_start|>"]),
             ("bpe", "strings", 5000, 1, [end]), ("bpe", "runs", 400, 2, [end]), ("bpe", "documents", 257, 2, [end]),
             ("word", "documents", 600, 2, [end, "<unk>"]), ("word", "strings", 5000, 1, [end, "<unk>"])]
    golden = {"texts": sets, "strings": strings, "cases": []}
    for kind, data, vocabulary_size, min_frequency, special in cases:
        tokenizer = {"bpe": bpe, "word": word}[kind](sets[data], vocabulary_size, min_frequency, special)
        model = json.loads(tokenizer.to_str())["model"]
        golden["cases"].append({
            "kind": kind, "texts": data, "vocabulary_size": vocabulary_size, "min_frequency": min_frequency, "special": special,
            "tokens": sorted(model["vocab"], key=model["vocab"].get), "merges": [list(merge) for merge in model.get("merges", [])],
            "ids": [tokenizer.encode(text).ids for text in strings],
        })
    path = ROOT / "tests" / "goldens" / "tokenizer_trainer.json"
    path.write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
