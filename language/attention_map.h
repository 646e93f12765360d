// Who looks at whom: the attention weights of a text.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/language_model.h"

namespace blazon::language {

inline constexpr int64_t kAllLayers = -1, kAllHeads = -1;

struct AttentionMap {
  int64_t layers = 0, heads = 0;  // that the model has
  at::Tensor weights;             // fp32 [T, T]: row i is how much token i takes from each token; it sums to 1
};

// The weights of one layer and head (from 0), or their mean over all layers, all heads, or both, as the model reads the
// whole text at once. tokens: int64 [T]. bidirectional, adapter: as of ModelInput.
// kOutOfRange: there is no such layer or head; the message says how many there are. kUnimplemented: a model without
// attention (LSTM), or one whose prompt is read apart (an encoder's, or a picture that is its memory).
absl::StatusOr<AttentionMap> MapAttention(const LanguageModel& model, const at::Tensor& tokens,
                                          absl::Span<const TokenSpan> bidirectional, const Adapter* adapter,
                                          int64_t layer = kAllLayers, int64_t head = kAllHeads);

}  // namespace blazon::language
