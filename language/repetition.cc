#include "language/repetition.h"

#include <algorithm>

namespace blazon::language {

bool EndsInRepetition(absl::Span<const TokenId> output) {
  const auto length = static_cast<int64_t>(output.size());
  if (length < kFewestRepeatedTokens) return false;
  for (int64_t unit = 1; unit <= kLongestRepeatedUnit; ++unit) {
    const int64_t needed = std::max(kFewestRepeatedTokens, kFewestRepeats * unit);
    if (length < needed) return false;  // longer units need as much or more
    int64_t repeated = unit;            // tokens at the end that continue the period
    while (repeated < needed && output[length - 1 - repeated] == output[length - 1 - repeated + unit]) ++repeated;
    if (repeated == needed) return true;
  }
  return false;
}

}  // namespace blazon::language
