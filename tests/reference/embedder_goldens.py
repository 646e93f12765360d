"""Makes tests/goldens/embedder.json and embedder.safetensors with sentence-transformers, for tests/service/embedder_test.

python tests/reference/embedder_goldens.py
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

ROOT = Path(__file__).resolve().parents[2]
FOX = "The quick brown fox jumps over the lazy dog. "
# No text spells out a control token: sentence-transformers obeys those in user text, Blazon reads them as plain words.
TEXTS = [
    "", "a", "Hello, world!", "hello world", "What do bees make?", "Bees make honey from nectar.",
    "The Eiffel Tower is 330 metres tall.", "Der Eiffelturm ist 330 Meter hoch.", "La tour Eiffel mesure 330 mètres.",
    "埃菲尔铁塔高330米", "東京タワーの高さは333メートルです。", "Эйфелева башня", "برج إيفل", "naïve café résumé coöperate", "ÅNGSTRÖM straße",
    "emoji 😀 🦊 👩‍🚀 in text", "x = {'key': [1, 2.5, -3e8]}  # comment", "https://example.org/a?b=c&d=%20", "    spaces\t\ttabs\n\nlines   ",
    "a\u0000b\u200bc\ufeffd", "supercalifragilisticexpialidocious antidisestablishmentarianism", "z" * 150,
    "1234567890 3.14159 1,000,000", "The cat sat on the mat.", "A feline rested upon the rug.", "Stock markets fell sharply on Monday.",
    FOX * 2, FOX * 8, FOX * 20, FOX * 25,
]

if __name__ == "__main__":
    model = SentenceTransformer(str(ROOT / "models" / "all-minilm-l6-v2"), device="cpu")
    assert all(len(model.tokenizer(t).input_ids) <= model.max_seq_length for t in TEXTS)
    vectors = model.encode(TEXTS, batch_size=8, normalize_embeddings=False)
    goldens = ROOT / "tests" / "goldens"
    (goldens / "embedder.json").write_text(json.dumps(TEXTS) + "\n")
    save_file({"vectors": np.ascontiguousarray(vectors.astype(np.float32))}, goldens / "embedder.safetensors")
    print(len(TEXTS), "texts", vectors.shape, "norms", np.linalg.norm(vectors, axis=1).min())
