#include "language/ops/ragged_batch.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>

namespace blazon::language {

RaggedBatch GatherRows(absl::Span<const ModelInput> batch, const LanguageModel& model, at::ScalarType type) {
  TORCH_CHECK(!batch.empty(), "Forward needs at least one input");
  RaggedBatch result;
  std::vector<at::Tensor> embeddings, positions;
  const int64_t context = model.config().context_length;
  int64_t rows = 0;
  for (const ModelInput& input : batch) {
    embeddings.push_back(input.embeddings.defined() ? input.embeddings.to(type) : model.Embed(input.tokens));  // [T, D]
    const int64_t count = embeddings.back().size(0);
    auto* cache = static_cast<KvCache*>(input.state);
    const int64_t past = cache != nullptr ? cache->length() : 0;
    TORCH_CHECK(count > 0, "an input has no tokens");
    TORCH_CHECK(past + count <= context, past + count, " tokens are more than the context of ", context);
    positions.push_back(at::arange(past, past + count, at::kLong));
    result.sequences.push_back({rows, count, cache, input.bidirectional});
    if (input.adapter != nullptr) {
      const bool continues = !result.adapters.empty() && result.adapters.back().adapter == input.adapter &&
                             result.adapters.back().end == rows;
      if (continues) {
        result.adapters.back().end += count;
      } else {
        result.adapters.push_back({input.adapter, rows, rows + count});
      }
    }
    rows += count;
  }
  result.x = embeddings.size() == 1 ? embeddings[0].contiguous() : at::cat(embeddings);
  result.positions = positions.size() == 1 ? positions[0] : at::cat(positions);
  return result;
}

void AdvanceCaches(const RaggedBatch& batch) {
  for (const SequenceRows& sequence : batch.sequences) {
    if (sequence.cache != nullptr) sequence.cache->Advance(sequence.count);
  }
}

}  // namespace blazon::language
