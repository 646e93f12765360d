// Says how well passages answer a query, reading both together: slower than comparing vectors, and nearer to the truth.
//
// Thread safety: const; Score may be called from several threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::language {

class PassageScorer {
 public:
  virtual ~PassageScorer() = default;
  // Tokens that query and passage may have together, control tokens included; Score refuses more (kInvalidArgument,
  // with the passage's number), never truncates.
  virtual int64_t max_tokens() const = 0;
  // One score a passage, larger is better: the model's logit.
  virtual absl::StatusOr<std::vector<float>> Score(std::string_view query,
                                                   absl::Span<const std::string> passages) const = 0;
};

}  // namespace blazon::language
