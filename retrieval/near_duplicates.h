// Texts that are nearly the same: pairs whose sets of five-word runs have a large part in common.
//
// MinHash (Broder, "On the resemblance and containment of documents", 1997) finds the pairs that may be: 128 hashes a
// text, in 16 bands of 8 (locality-sensitive hashing: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
// chapter 3); of two texts of similarity 0.8, 95 % are found, of 0.9, all but one in 10,000. Each pair is then compared
// itself, so that every one that is told of is true.
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::retrieval {

struct NearDuplicate {
  size_t first = 0, second = 0;  // numbers of texts, first < second
  double similarity = 0;         // |common runs| / |runs of either| (Jaccard)
};

class NearDuplicates {
 public:
  // Notes a text under the next number, from 0. Texts with fewer than five words have no runs and no duplicates.
  void Add(std::string_view text);
  // Pairs of at least this similarity, [0.5, 1], the most alike first. text_of gives a text again.
  absl::StatusOr<std::vector<NearDuplicate>> Find(
      double threshold, const std::function<absl::StatusOr<std::string>(size_t)>& text_of) const;

 private:
  static constexpr size_t kBands = 16, kRows = 8;
  struct Sketch {
    std::vector<uint32_t> smallest;  // of each hash; empty: no runs
  };
  std::vector<Sketch> sketches_;
};

// Of two texts.
double Similarity(std::string_view a, std::string_view b);

}  // namespace blazon::retrieval
