#include "language/ops/ragged_batch.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "language/ops/recomputed_layers.h"

namespace blazon::language {
namespace {

// Positions of an input whose branches all go on from its common tokens. Throws when they are not as ModelInput says.
// common: where the first branch begins, which is how many tokens are common. int64 [count].
at::Tensor BranchPositions(const ModelInput& input, int64_t count, int64_t common) {
  TORCH_CHECK(input.state == nullptr, "branches go with no state");
  TORCH_CHECK(common > 0, "branches need a common token before them");
  TORCH_CHECK(input.bidirectional.empty() || input.bidirectional.back().end <= common,
              "a bidirectional span lies in a branch");
  std::vector<at::Tensor> positions = {at::arange(common, at::kLong)};
  int64_t end = common;
  for (const TokenSpan& branch : input.branches) {
    TORCH_CHECK(branch.begin == end && branch.end > branch.begin, "branches are not one behind the other");
    end = branch.end;
    positions.push_back(at::arange(common, common + branch.end - branch.begin, at::kLong));
  }
  TORCH_CHECK(end == count, "the branches end at ", end, " of ", count, " tokens");
  return at::cat(positions);
}

// The longest text in the input.
int64_t LongestText(const ModelInput& input, int64_t count) {
  if (input.branches.empty()) return count;
  int64_t longest = 0;
  for (const TokenSpan& branch : input.branches) longest = std::max(longest, branch.end - branch.begin);
  return input.branches[0].begin + longest;
}

}  // namespace

RaggedBatch GatherRows(absl::Span<const ModelInput> batch, const LanguageModel& model,
                       const at::TensorOptions& options) {
  TORCH_CHECK(!batch.empty(), "Forward needs at least one input");
  RaggedBatch result;
  std::vector<at::Tensor> embeddings, positions;
  const int64_t context = model.config().context_length;
  int64_t rows = 0;
  for (const ModelInput& input : batch) {
    embeddings.push_back(input.embeddings.defined() ? input.embeddings.to(options)
                                                    : model.Embed(input.tokens));  // [T, D]
    const int64_t count = embeddings.back().size(0);
    auto* cache = static_cast<KvCache*>(input.state);
    const int64_t past = cache != nullptr ? cache->length() : 0;
    TORCH_CHECK(count > 0, "an input has no tokens");
    TORCH_CHECK(cache == nullptr || !Recomputes(), "layers that are computed again go with no state");
    const int64_t length = past + LongestText(input, count);
    TORCH_CHECK(length <= context, length, " tokens are more than the context of ", context);
    positions.push_back(input.branches.empty() ? at::arange(past, past + count, at::kLong)
                                               : BranchPositions(input, count, input.branches[0].begin));
    result.sequences.push_back({rows, count, cache, input.bidirectional, input.branches});
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
  result.positions = (positions.size() == 1 ? positions[0] : at::cat(positions)).to(options.device());
  return result;
}

void AdvanceCaches(const RaggedBatch& batch) {
  for (const SequenceRows& sequence : batch.sequences) {
    if (sequence.cache != nullptr) sequence.cache->Advance(sequence.count);
  }
}

}  // namespace blazon::language
