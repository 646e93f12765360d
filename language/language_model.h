// A decoder language model: weights only. What changes during a generation is in ModelState.
//
// Shapes: N rows of a ragged batch, T tokens of one input, D width, V vocabulary.
// Thread safety: const; Forward and Logits may run on several threads with different states.
// With gradients on (training) the same calls take a differentiable path; `state` is then null.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::language {

// What one sequence keeps between steps (keys and values for a transformer). Made by the model, opened only by it.
class ModelState {
 public:
  virtual ~ModelState() = default;
  virtual int64_t length() const = 0;  // tokens held
  virtual int64_t bytes() const = 0;   // memory held
  // Forgets all but the first `length` tokens; keeps memory. length <= length().
  virtual void Truncate(int64_t length) = 0;
  // A state that holds the same and goes its own way from here. Cheap: memory may be shared until one of the two grows.
  // Both belong to one thread.
  virtual std::unique_ptr<ModelState> Fork() const = 0;
};

// One low-rank update of a linear layer (Hu et al. 2021, arXiv 2106.09685): y = W x + scale * B (A x).
struct LoraWeights {
  // Both where the model is.
  at::Tensor a;  // [r, in]
  at::Tensor b;  // [out, r]
  double scale = 1.0;
  double dropout = 0.0;  // share of x's values that A does not see; only with gradients on (training)
};

// Module name ("model.layers.0.self_attn.q_proj") -> update. Immutable while in use.
struct Adapter {
  std::string name;
  std::map<std::string, LoraWeights> modules;
};

// Tokens that see one another whatever their order: an image's, or a prefix (Raffel et al. 2019, arXiv 1910.10683,
// figure 4). Counted from the first token of the input that holds it.
struct TokenSpan {
  int64_t begin = 0;
  int64_t end = 0;
};

// The new tokens of one sequence.
struct ModelInput {
  at::Tensor tokens = {};      // int64 [T], on any device; or undefined when `embeddings` is given
  at::Tensor embeddings = {};  // [T, D], used as they are (after the model's own scaling), likewise; or undefined
  // Read and extended by T tokens; null: the whole sequence is in this input (training, scoring).
  ModelState* state = nullptr;
  const Adapter* adapter = nullptr;  // applied to these rows only
  // Apart from one another, in order, whole within this input: a span is never divided between two calls.
  absl::Span<const TokenSpan> bidirectional = {};
  // Runs of tokens that each go on from the tokens before the first run, and see nothing of one another: several
  // questions about one text, which is then computed once. Not empty, one behind the other up to the input's end, each
  // counted from the input's first token; their positions all go on from that of the last common token. Hidden states
  // are those of separate inputs, common tokens and one run each. Only without a state; bidirectional spans must then
  // lie in the common tokens.
  absl::Span<const TokenSpan> branches = {};
};

// A weight that a model computes with, for who trains or adapts it.
struct Parameter {
  std::string name = {};             // the model's: "h.0.attn.c_attn.weight"; without ".weight" an adapter finds it
  std::string checkpoint_name = {};  // as transformers writes it: "transformer.h.0.attn.c_attn.weight"
  at::Tensor tensor = {};            // shares memory with the model's; undefined: it is kept quantised
  bool linear = false;               // [outputs, inputs] of a linear layer, which an adapter may update
  int64_t outputs = 0, inputs = 0;
  bool transposed = false;  // checkpoints have it as [inputs, outputs] (GPT-2's Conv1D)
  double offset = 0.0;      // what was added to the checkpoint's values (1 for Gemma's norms)
};

// How a model keeps its weights, and so what it computes with.
//   kAuto: quantised weights stay quantised, with fp32 activations; dense ones become fp32. The choice for serving.
//   kFp32: every weight dense fp32. The parity reference, and what training uses.
//   kBf16: every weight, activation and KV cache bf16. Only where the processor multiplies bf16 itself (AVX512-BF16,
//   AMX);
//          elsewhere LibTorch emulates it about 100 times slower, so kAuto never chooses it.
//   kFp16: the same in fp16. For GPUs; slow on most processors.
enum class Dtype { kAuto, kFp32, kBf16, kFp16 };

// In which types a model computes, and on which device; a Dtype alone means the CPU.
//
// Kernels for quantised weights are the CPU's: on another device every weight is dense in the compute type, which is
// fp32 with kAuto. Weights are checked and converted on the CPU and then moved. at::kMeta makes a model of shapes
// without values, whose every operation fails that reads a value or meets a tensor of the CPU; tests/ uses it.
struct Placement {
  Placement(Dtype dtype = Dtype::kAuto, at::Device device = at::kCPU)  // NOLINT: a Dtype converts
      : dtype(dtype), device(device) {}
  Dtype dtype;
  at::Device device;
};

struct LanguageModelConfig {
  int64_t width = 0;
  int64_t vocabulary_size = 0;
  int64_t layers = 0;
  int64_t context_length = 0;
  int64_t state_values = 0;  // numbers, in the compute type, that a sequence keeps for each of its tokens
  // Of a model that looks at one picture instead of reading it as part of the text: the width of the picture's tokens,
  // which are the first input of a sequence, whole and alone. 0: image tokens are `width` wide and stand in the text.
  int64_t memory_width = 0;
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual const LanguageModelConfig& config() const = 0;
  // Where its weights, its states and all that it returns are.
  virtual at::Device device() const { return at::kCPU; }

  virtual std::unique_ptr<ModelState> NewState() const = 0;

  // Every weight once, in the order in which the model reads them; an output matrix that is tied to the embedding is
  // not listed. None is undefined with Dtype::kFp32. Writing into them while another thread computes is a race.
  virtual const std::vector<Parameter>& parameters() const = 0;

  // tokens: int64 [T], on any device. Returns [T, D], as Forward would enter them.
  virtual at::Tensor Embed(const at::Tensor& tokens) const = 0;

  // Returns the final hidden states (after the last norm) of all inputs, concatenated in order: [N, D].
  // Positions follow state->length(). Every sequence's rows are causal among themselves; branches apart.
  virtual at::Tensor Forward(absl::Span<const ModelInput> batch) const = 0;

  // rows: [n, D] of Forward's result. Returns fp32 [n, V].
  virtual at::Tensor Logits(const at::Tensor& rows) const = 0;
};

}  // namespace blazon::language
