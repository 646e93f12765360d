// Tells when a generation has fallen into a loop (Holtzman et al. 2019, arXiv 1904.09751, section 3).
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

inline constexpr int64_t kLongestRepeatedUnit = 64;    // tokens
inline constexpr int64_t kFewestRepeats = 8;           // of a unit, the first included
inline constexpr int64_t kFewestRepeatedTokens = 256;  // of all repeats together

// Whether `output` ends in a unit of 1 to kLongestRepeatedUnit tokens that stands there, token for token, at least
// kFewestRepeats times and makes up at least kFewestRepeatedTokens tokens: one token 256 times, a line of 16 tokens 16
// times, a paragraph of 64 tokens 8 times. Lists and tables do not fire: something in each of their rows differs. The
// bounds are ours; no public system has a standard rule.
bool EndsInRepetition(absl::Span<const TokenId> output);

}  // namespace blazon::language
