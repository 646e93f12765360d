"""Makes tests/goldens/gemma3_270m.json with transformers, for tests/service/gemma_test (opt-in: Gemma's terms apply to the weights).

python tests/reference/gemma_goldens.py FOLDER_WITH_gemma-3-270m-q4_k_m.gguf
"""

import json
import sys
from pathlib import Path

import gguf
import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
NAME = "gemma-3-270m-q4_k_m.gguf"
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees",
    "The three primary colours are red,",
    "Dear Sir or Madam,\n\nI am writing to",
    "A recipe for bread: take 500 g of flour,",
    "In 1969, the first human being",
    "Photosynthesis is the process by which",
    "Der Leuchtturm steht am",
]
GREEDY_TOKENS = 64
LOGIT_STEP = 997



def sentence_piece(path: Path) -> sentencepiece.SentencePieceProcessor:
    """The file's vocabulary in SentencePiece's own program (transformers' conversion of it cuts words into letters)."""
    fields = gguf.GGUFReader(path).fields
    proto = sentencepiece_model_pb2.ModelProto()
    tokens, scores, types = (fields[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type"))
    for i, index in enumerate(tokens.data):
        piece = proto.pieces.add()
        piece.piece = bytes(tokens.parts[index]).decode()
        piece.score = float(scores.parts[scores.data[i]][0])
        piece.type = int(types.parts[types.data[i]][0])
        if piece.type == piece.USER_DEFINED:  # runs of spaces; the converter to GGUF wrote them as they are
            piece.piece = piece.piece.replace(" ", "\u2581")
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.pad_id, proto.trainer_spec.eos_id, proto.trainer_spec.bos_id, proto.trainer_spec.unk_id = 0, 1, 2, 3
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


if __name__ == "__main__":
    torch.set_num_threads(2)
    folder = sys.argv[1]
    tokenizer = sentence_piece(Path(folder) / NAME)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=NAME, dtype=torch.float32, attn_implementation="eager").eval()
    out = []
    for prompt in PROMPTS:
        ids = torch.tensor([[2, *tokenizer.encode(prompt)]])  # behind <bos>
        with torch.no_grad():
            greedy = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=GREEDY_TOKENS,
                                    repetition_penalty=1.0, eos_token_id=1, pad_token_id=0)[0, ids.shape[1]:]
            logits = model(ids).logits[0, -1]
        greedy = greedy[: (greedy == 1).nonzero()[0, 0]] if (greedy == 1).any() else greedy
        out.append({"prompt": prompt, "ids": ids[0].tolist(), "greedy": greedy.tolist(),
                    "logits": [round(value, 6) for value in logits[::LOGIT_STEP].tolist()]})
        print(repr(prompt), ids[0].tolist()[:6], "->", repr(tokenizer.decode(greedy.tolist()))[:100])
    (ROOT / "tests" / "goldens" / "gemma3_270m.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
