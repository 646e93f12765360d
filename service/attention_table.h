// What each token of a text that the language model read or wrote takes from each token before it, as a table and as a
// picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/tokenizer/tokenizer.h"
#include "service/model_store.h"

namespace blazon::service {

// A picture with more cells than this in a row helps nobody.
inline constexpr int64_t kMaxAttentionTokens = 256;

struct AttentionRequest {
  std::vector<language::TokenId> prompt, generated;  // together 1 .. kMaxAttentionTokens
  int64_t layer = -1, head = -1;                     // from 0; -1: the mean of all
};

struct AttentionTable {
  std::string model;
  int64_t layers = 0, heads = 0;    // that the model has
  int64_t layer = -1, head = -1;    // as asked for
  int64_t prompt_tokens = 0;        // the first of `tokens`
  std::vector<std::string> tokens;  // their bytes; may be parts of characters
  std::vector<float> weights;       // [tokens, tokens], row-major: a row sums to 1
};

// Reads the whole text once more, through the default adapter where there is one. kInvalidArgument: no tokens, too
// many, or one out of the vocabulary; kOutOfRange and kUnimplemented: as language::MapAttention. Loads the language
// model.
absl::StatusOr<AttentionTable> ReadAttention(ModelStore& models, const AttentionRequest& request);

// An SVG: a row for each token, a column for each that it looks at, the darker the more (the square root of the weight,
// since the first token often takes most); a line where the generated text begins. Each cell says its weight to who
// points at it. Weights below 0.005 are left white.
std::string AttentionHeatMap(const AttentionTable& table);

}  // namespace blazon::service
