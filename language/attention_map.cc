#include "language/attention_map.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include "absl/strings/str_cat.h"
#include "language/encodes_prompt.h"
#include "language/ops/attention.h"

namespace blazon::language {

absl::StatusOr<AttentionMap> MapAttention(const LanguageModel& model, const at::Tensor& tokens,
                                          absl::Span<const TokenSpan> bidirectional, const Adapter* adapter,
                                          int64_t layer, int64_t head) {
  if (dynamic_cast<const EncodesPrompt*>(&model) != nullptr || model.config().memory_width > 0) {
    return absl::UnimplementedError(
        "this model reads its prompt apart from the text that it writes; attention is shown of models that read both "
        "as "
        "one text");
  }
  const int64_t layers = model.config().layers;
  if (layer < kAllLayers || layer >= layers) {
    return absl::OutOfRangeError(
        absl::StrCat("layer is ", layer, "; the model has layers 0 to ", layers - 1, ", and -1 is the mean of all"));
  }
  AttentionMap map;
  map.layers = layers;
  int64_t seen = 0;  // layers
  const AttentionObserver observer([&](int64_t index, const at::Tensor& weights /* [H, T, T] */) {
    map.heads = weights.size(0);
    ++seen;
    if ((layer != kAllLayers && index != layer) || head < kAllHeads || head >= map.heads) return;
    const at::Tensor chosen = head == kAllHeads ? weights.mean(0) : weights[head];  // [T, T]
    map.weights = map.weights.defined() ? map.weights + chosen : chosen.clone();
  });
  try {
    const at::NoGradGuard no_grad;
    model.Forward({{.tokens = tokens, .adapter = adapter, .bidirectional = bidirectional}});
  } catch (const c10::Error&) {
    return absl::InternalError("the language model failed while its attention was read; is there enough memory?");
  }
  if (seen == 0) return absl::UnimplementedError("this model has no attention to show");
  if (!map.weights.defined()) {
    return absl::OutOfRangeError(
        absl::StrCat("head is ", head, "; a layer has heads 0 to ", map.heads - 1, ", and -1 is the mean of all"));
  }
  if (layer == kAllLayers) map.weights = map.weights / static_cast<double>(seen);
  map.weights = map.weights.to(at::kCPU);
  return map;
}

}  // namespace blazon::language
