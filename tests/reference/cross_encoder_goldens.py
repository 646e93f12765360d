"""Makes tests/goldens/cross_encoder with transformers, for tests/service/embedder_test: a small cross-encoder of random
weights, pairs of texts, and what BertForSequenceClassification says of them.

python tests/reference/cross_encoder_goldens.py
"""

import json
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification

FOLDER = Path(__file__).resolve().parents[1] / "goldens" / "cross_encoder"
WORDS = "bees make honey from nectar what do the ferry leaves at noon when does it leave tomatoes are watered every second day ##s ##ing ? . ,"
QUERIES = ["What do bees make?", "When does the ferry leave?", "zebra"]
PASSAGES = ["Bees make honey from nectar.", "The ferry leaves at noon.", "Tomatoes are watered every second day.", "noon",
            "", "The bees leave the ferry, and honey is what it leaves. " * 2]

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *letters, *("##" + x for x in letters)]
    vocabulary = list(dict.fromkeys(vocabulary))
    (FOLDER / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(5)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=32, max_position_embeddings=64, initializer_range=0.5, num_labels=1)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(FOLDER)
    tokenizer = BertWordPieceTokenizer(str(FOLDER / "vocab.txt"), lowercase=True)
    scores = []
    for query in QUERIES:
        row = []
        for passage in PASSAGES:
            pair = tokenizer.encode(query, passage)
            with torch.inference_mode():
                row.append(model(torch.tensor([pair.ids]), token_type_ids=torch.tensor([pair.type_ids])).logits.item())
        scores.append(row)
    (FOLDER / "scores.json").write_text(
        json.dumps({"queries": QUERIES, "passages": PASSAGES, "scores": scores}, indent=1) + "\n")
    print(scores)
