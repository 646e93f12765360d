// Learns the merges of byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) from words and how often they occur.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace blazon::language {

struct CountedWord {
  std::string text;  // well-formed UTF-8, not empty
  int64_t count = 0;
};

struct TrainedMerges {
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  std::vector<std::string> tokens;  // by id: the given ones, then one for each merge that made it
};

// Joins the most frequent pair of neighbours again and again, until there are `vocabulary_size` tokens or no pair
// occurs `min_frequency` times. Of equally frequent pairs the one whose ids are lower is joined. Tokens and merges are
// those of BpeTrainer of the `tokenizers` package, whatever the order of `words`. tokens: what there is to begin with,
// by id: special tokens, and every character of the words; a character that is missing is left out of its words.
TrainedMerges TrainMerges(absl::Span<const CountedWord> words, std::vector<std::string> tokens, int64_t vocabulary_size,
                          int64_t min_frequency);

}  // namespace blazon::language
