#include "retrieval/near_duplicates.h"

#include <xxhash.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kRunWords = 5;

// Hashes of all runs of five words, ascending, each once. A word is letters and digits of any script, in small letters
// as far as ASCII goes.
std::vector<uint64_t> Runs(std::string_view text) {
  std::vector<uint64_t> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(XXH3_64bits(word.data(), word.size()));
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || std::isalnum(byte)) {
      word += static_cast<char>(byte < 0x80 ? std::tolower(byte) : byte);
    } else {
      end_word();
    }
  }
  end_word();
  std::vector<uint64_t> runs;
  for (size_t i = 0; i + kRunWords <= words.size(); ++i)
    runs.push_back(XXH3_64bits(words.data() + i, kRunWords * sizeof(uint64_t)));
  std::sort(runs.begin(), runs.end());
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  return runs;
}

double Jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t common = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) {
      ++common;
      ++i;
      ++j;
    } else {
      ++(a[i] < b[j] ? i : j);
    }
  }
  const size_t either = a.size() + b.size() - common;
  return either == 0 ? 0 : static_cast<double>(common) / static_cast<double>(either);
}

// The upper half of an odd multiple, one multiplier a hash (multiply-shift: Dietzfelbinger et al. 1997).
uint32_t HashOf(uint64_t run, uint64_t multiplier, uint64_t addend) {
  return static_cast<uint32_t>((run * multiplier + addend) >> 32);
}

uint64_t Parameter(uint64_t number) { return XXH3_64bits(&number, sizeof number); }

}  // namespace

double Similarity(std::string_view a, std::string_view b) { return Jaccard(Runs(a), Runs(b)); }

void NearDuplicates::Add(std::string_view text) {
  Sketch& sketch = sketches_.emplace_back();
  const std::vector<uint64_t> runs = Runs(text);
  if (runs.empty()) return;
  for (size_t i = 0; i < kBands * kRows; ++i) {
    const uint64_t multiplier = Parameter(2 * i) | 1, addend = Parameter(2 * i + 1);
    uint32_t smallest = std::numeric_limits<uint32_t>::max();
    for (const uint64_t run : runs) smallest = std::min(smallest, HashOf(run, multiplier, addend));
    sketch.smallest.push_back(smallest);
  }
}

absl::StatusOr<std::vector<NearDuplicate>> NearDuplicates::Find(
    double threshold, const std::function<absl::StatusOr<std::string>(size_t)>& text_of) const {
  if (!(threshold >= 0.5 && threshold <= 1))
    return absl::InvalidArgumentError(absl::StrCat("the similarity must be 0.5 to 1, not ", threshold));
  std::set<std::pair<size_t, size_t>> candidates;
  for (size_t band = 0; band < kBands; ++band) {
    absl::flat_hash_map<uint64_t, std::vector<size_t>> buckets;
    for (size_t i = 0; i < sketches_.size(); ++i) {
      if (sketches_[i].smallest.empty()) continue;
      std::vector<size_t>& bucket =
          buckets[XXH3_64bits(sketches_[i].smallest.data() + band * kRows, kRows * sizeof(uint32_t))];
      for (const size_t other : bucket) candidates.emplace(other, i);
      bucket.push_back(i);
    }
  }
  std::vector<NearDuplicate> pairs;
  std::vector<uint64_t> first_runs;
  size_t first = std::numeric_limits<size_t>::max();
  for (const auto& [a, b] : candidates) {
    if (a != first) {
      absl::StatusOr<std::string> text = text_of(a);
      if (!text.ok()) return text.status();
      first_runs = Runs(*text);
      first = a;
    }
    absl::StatusOr<std::string> text = text_of(b);
    if (!text.ok()) return text.status();
    const double similarity = Jaccard(first_runs, Runs(*text));
    if (similarity >= threshold) pairs.push_back({a, b, similarity});
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const NearDuplicate& a, const NearDuplicate& b) { return a.similarity > b.similarity; });
  return pairs;
}

}  // namespace blazon::retrieval
