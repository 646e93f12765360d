// A BERT encoder over query and passage, with the pooler and a classifier of one label: BertForSequenceClassification,
// as cross-encoders trained on MS MARCO are (Nogueira and Cho 2019, arXiv 1901.04085).
//
// Shapes: B passages, D width.
#pragma once

#include <memory>

#include "language/models/bert_encoder.h"
#include "language/passage_scorer.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

class CrossEncoder : public PassageScorer {
 public:
  // weights: Hugging Face names: bert.*, bert.pooler.dense, classifier. kInvalidArgument: a tensor is missing, unknown
  // or mis-shaped (a classifier of several labels among them), or the tokenizer lacks [CLS] or [SEP].
  static absl::StatusOr<std::unique_ptr<CrossEncoder>> Create(const BertConfig& config, const StateDict& weights,
                                                              std::unique_ptr<Tokenizer> tokenizer);

  int64_t max_tokens() const override { return encoder_->config().max_tokens; }
  absl::StatusOr<std::vector<float>> Score(std::string_view query,
                                           absl::Span<const std::string> passages) const override;

 private:
  CrossEncoder() = default;
  std::unique_ptr<BertEncoder> encoder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TokenId cls_ = 0, sep_ = 0;
  at::Tensor pooler_weight_, pooler_bias_;          // pooler.dense: [D, D], [D]
  at::Tensor classifier_weight_, classifier_bias_;  // classifier: [1, D], [1]
};

}  // namespace blazon::language
