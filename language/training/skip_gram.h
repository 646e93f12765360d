// Vectors of words from the company that they keep: skip-gram with negative sampling (Mikolov et al. 2013, arXiv
// 1310.4546), known as word2vec.
//
// Shapes: V vocabulary, D width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"

namespace blazon::language {

struct SkipGramOptions {
  int64_t vocabulary_size = 0;  // at least 2
  int64_t width = 0;            // at least 1
  int64_t window = 5;           // a word predicts those at a distance of 1 .. r, r drawn evenly from 1 .. window
  int64_t negatives = 5;        // words drawn against each, as often as their count to the power 3/4 says
  double subsample = 1e-3;  // a word that is more than this share of all is passed over with sqrt's odds; 0: none is
  int64_t passes = 5;       // over the text
  double learning_rate = 0.025;  // falls to nothing, evenly
  uint64_t seed = 1;
  std::function<bool()> stop = [] { return false; };  // asked now and then; true ends it where it is
};

// tokens: int64 [N], contiguous, each 0 to below the vocabulary's size. Returns fp32 [V, D]: of words that never come,
// as they were drawn at first. One thread, the same seed gives the same vectors. kInvalidArgument: an option is out of
// range, or there are fewer than 2 tokens.
absl::StatusOr<at::Tensor> TrainSkipGram(const at::Tensor& tokens, const SkipGramOptions& options);

}  // namespace blazon::language
