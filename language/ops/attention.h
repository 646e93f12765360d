// Causal self-attention with grouped key heads (Ainslie et al. 2023, arXiv 2305.13245) over a ragged batch, each
// sequence against its own keys and values.
//
// Shapes: N rows of the batch, T rows of one sequence, L keys, H heads, K key heads, C channels of a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "language/language_model.h"

namespace blazon::language {

// Keys and values of one sequence, all layers. Room grows by doubling, layer by layer, as rows come.
class KvCache : public ModelState {
 public:
  KvCache(int64_t layers, int64_t key_heads, int64_t head_width, int64_t max_length, const at::TensorOptions& options);

  int64_t length() const override { return length_; }
  int64_t bytes() const override;
  void Truncate(int64_t length) override;
  // Shares the memory of each layer; whichever of the two is extended first while it is shared copies it.
  std::unique_ptr<ModelState> Fork() const override;

  // One layer's keys and values [K, L, C]: those of the first length() tokens, then `keys` and `values` [T, K, C].
  // Views, valid until the next Extend. The length stays; Advance counts the tokens once all layers have them.
  struct View {
    at::Tensor keys, values;
  };
  View Extend(int64_t layer, const at::Tensor& keys, const at::Tensor& values);
  void Advance(int64_t tokens);

 private:
  int64_t key_heads_, head_width_, max_length_;
  at::TensorOptions options_;  // type and device of the tensors
  int64_t length_ = 0;
  std::vector<View> layers_;  // [K, capacity, C]; undefined before the first row
};

// The rows of one sequence in the batch.
struct SequenceRows {
  int64_t begin = 0;
  int64_t count = 0;
  KvCache* cache = nullptr;  // null: the rows are the whole sequence
  // Rows that see one another whatever their order, counted from `begin`. In order, apart from one another.
  absl::Span<const TokenSpan> bidirectional = {};
  // As ModelInput::branches, counted from `begin`. Only without a cache.
  absl::Span<const TokenSpan> branches = {};
};

// Where a family's scores differ from q k / sqrt(C).
struct AttentionRules {
  double scale = 0.0;    // of q k; 0: 1 / sqrt(C)
  double softcap = 0.0;  // scores become softcap * tanh(score / softcap) (Gemma team 2024, arXiv 2408.00118); 0: off
  int64_t window = 0;    // a token sees itself and the window - 1 before it; 0: all
  // A span is seen only as far back as the window reaches (Gemma 3); else it is seen whole (Gemma 2).
  bool window_cuts_spans = false;
  // fp32 [H], where the keys are: a score grows by slope times the key's position (Press et al. 2021, arXiv
  // 2108.12409); undefined: off.
  at::Tensor alibi_slopes = {};
};

// queries: [N, H, C]; keys, values: [N, K, C]. Extends the caches of `layer`. Returns [N, H * C].
// Differentiable in all three where there is no cache.
at::Tensor CausalAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                           absl::Span<const SequenceRows> sequences, int64_t layer, const AttentionRules& rules = {});

// Looks at attention: while it lives, each call of CausalAttention on this thread for one whole sequence (no cache, no
// branches) tells it the layer and its weights, fp32 [H, T, T]. They are computed beside the result, which stays what
// it is. For people who want to see them; one at a time on a thread.
class AttentionObserver {
 public:
  using OnLayer = std::function<void(int64_t layer, const at::Tensor& weights)>;
  explicit AttentionObserver(OnLayer on_layer);
  ~AttentionObserver();
  AttentionObserver(const AttentionObserver&) = delete;
  AttentionObserver& operator=(const AttentionObserver&) = delete;

 private:
  const OnLayer on_layer_;
};

}  // namespace blazon::language
