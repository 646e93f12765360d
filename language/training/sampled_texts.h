// Texts that a model writes while it is trained: several samples of each prompt, for policies and for measuring them.
// Serving goes through the scheduler instead; here all texts go on in step, so that the same seeds give the same texts
// whenever a run is taken up again.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/language_model.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

struct SampledText {
  std::vector<TokenId> tokens;  // without the ending token
  std::optional<TokenId> end;   // the ending token; nullopt: max_tokens or the context cut the text off
};

struct SampledTextOptions {
  int64_t max_tokens = 64;
  double temperature = 1.0;  // 0: greedy; else 0.01 to 10
};

// One text for each seed of each prompt, in that order: seeds[i] are those of prompts[i], which is read once. prompts:
// none empty, each shorter than the context. kInternal: logits are not finite. Throws c10::Error.
absl::StatusOr<std::vector<std::vector<SampledText>>> SampleTexts(const LanguageModel& model, const Adapter* adapter,
                                                                  absl::Span<const std::vector<TokenId>> prompts,
                                                                  absl::Span<const std::vector<uint64_t>> seeds,
                                                                  absl::Span<const TokenId> end_tokens,
                                                                  const SampledTextOptions& options);

}  // namespace blazon::language
