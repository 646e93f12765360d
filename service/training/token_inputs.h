// What tokens are to the first block of a network that is trained from nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::service {

struct TokenInputsOptions {
  std::string kind = "learned";  // learned, one-hot or skip-gram, as TrainGptOptions::inputs
  int64_t passes = 5;            // of skip-gram
  uint64_t seed = 1;
  std::function<void(const std::string&)> log;
  std::function<bool()> stop;
};

// Fills `table`, fp32 [V, D] as the network was started with. learned: nothing changes. one-hot: row i is 1 at place i.
// skip-gram: vectors trained on `tokens` (int64 [N]), spread as widely as the table was; says which of some frequent
// tokens are near one another. kInvalidArgument: one-hot, and V is above D; or as TrainSkipGram.
absl::Status SetTokenInputs(const TokenInputsOptions& options, const at::Tensor& tokens,
                            const language::Tokenizer& tokenizer, at::Tensor table);

}  // namespace blazon::service
