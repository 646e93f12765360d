#include "language/token_logprobs.h"

#include <algorithm>
#include <numeric>

namespace blazon::language {

std::vector<TokenId> BestIds(const float* values, int64_t size, int64_t count) {
  std::vector<TokenId> ids(size);
  std::iota(ids.begin(), ids.end(), 0);
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(),
                    [&](TokenId a, TokenId b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  ids.resize(count);
  return ids;
}

TokenLogprob LogprobOf(TokenId id, const float* values, int64_t size, double normaliser, int64_t top) {
  TokenLogprob result{.id = id, .logprob = values[id] - normaliser, .top = {}};
  if (top < 1) return result;
  for (const TokenId best : BestIds(values, size, top)) result.top.emplace_back(best, values[best] - normaliser);
  return result;
}

}  // namespace blazon::language
