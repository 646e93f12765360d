// Log-probabilities as replies report them.
#pragma once

#include <cstdint>

#include "language/generation_result.h"

namespace blazon::language {

// The `count` best ids by value, best first; the lower id is better among equals. count <= size.
std::vector<TokenId> BestIds(const float* values, int64_t size, int64_t count);

// Of token `id` and of the `top` best ones (none when `top` < 1). values: [size], logits whose log-sum-exp is
// `normaliser`, or log-probabilities with a normaliser of 0.
TokenLogprob LogprobOf(TokenId id, const float* values, int64_t size, double normaliser, int64_t top);

}  // namespace blazon::language
