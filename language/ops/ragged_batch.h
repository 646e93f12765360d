// The inputs of one forward pass as one block of rows.
//
// Shapes: N rows of all inputs, D width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/ops/attention.h"
#include "language/ops/linear.h"

namespace blazon::language {

struct RaggedBatch {
  at::Tensor x;          // [N, D], the inputs' embeddings in the compute type, one after another
  at::Tensor positions;  // int64 [N], of each row in its own sequence or branch, from 0; where x is
  std::vector<SequenceRows> sequences;
  std::vector<AdapterRows> adapters;  // runs of rows that have one
};

// batch: at least one input, each with at least one token and within model.config().context_length; a state is a
// KvCache; branches are as ModelInput says. Throws c10::Error otherwise. The spans of `batch` must outlive the result.
// options: what the model computes in, and where.
RaggedBatch GatherRows(absl::Span<const ModelInput> batch, const LanguageModel& model,
                       const at::TensorOptions& options);

// All layers have extended the caches: counts the new tokens.
void AdvanceCaches(const RaggedBatch& batch);

}  // namespace blazon::language
