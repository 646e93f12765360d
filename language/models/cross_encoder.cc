#include "language/models/cross_encoder.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <exception>
#include <map>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

constexpr size_t kTokensPerScoring = 1024;  // of one forward pass, at least one pair

}  // namespace

absl::StatusOr<std::unique_ptr<CrossEncoder>> CrossEncoder::Create(const BertConfig& config, const StateDict& weights,
                                                                   std::unique_ptr<Tokenizer> tokenizer) {
  std::unique_ptr<CrossEncoder> model(new CrossEncoder);
  std::map<std::string, at::Tensor> head;
  absl::StatusOr<std::unique_ptr<BertEncoder>> encoder =
      BertEncoder::Create(config, weights,
                          {{"pooler.dense.weight", {config.width, config.width}},
                           {"pooler.dense.bias", {config.width}},
                           {"classifier.weight", {1, config.width}},
                           {"classifier.bias", {1}}},
                          &head);
  if (!encoder.ok()) return encoder.status();
  model->encoder_ = *std::move(encoder);
  model->pooler_weight_ = head["pooler.dense.weight"];
  model->pooler_bias_ = head["pooler.dense.bias"];
  model->classifier_weight_ = head["classifier.weight"];
  model->classifier_bias_ = head["classifier.bias"];
  const absl::StatusOr<BertControlTokens> controls = FindControlTokens(*tokenizer, config);
  if (!controls.ok()) return controls.status();
  model->cls_ = controls->cls;
  model->sep_ = controls->sep;
  model->tokenizer_ = std::move(tokenizer);
  return model;
}

absl::StatusOr<std::vector<float>> CrossEncoder::Score(std::string_view query,
                                                       absl::Span<const std::string> passages) const {
  const std::vector<TokenId> asked = tokenizer_->Encode(query);
  std::vector<std::vector<TokenId>> texts;
  for (size_t i = 0; i < passages.size(); ++i) {
    texts.push_back(tokenizer_->Encode(passages[i]));
    const size_t tokens = asked.size() + texts.back().size() + 3;  // [CLS] query [SEP] passage [SEP]
    if (tokens > static_cast<size_t>(max_tokens())) {
      return absl::InvalidArgumentError(absl::StrCat("query and passage ", i, " have ", tokens,
                                                     " tokens; the reranker reads at most ", max_tokens(),
                                                     ". Ask more briefly, or index in smaller pieces"));
    }
  }
  // Pairs of one length share an attention call, so they go through in order of length.
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return texts[a].size() < texts[b].size(); });
  std::vector<float> scores(texts.size());
  try {
    c10::InferenceMode inference;
    for (size_t begin = 0; begin < order.size();) {
      std::vector<int64_t> ids, types, lengths;
      size_t end = begin;
      while (end < order.size() &&
             (end == begin || ids.size() + asked.size() + texts[order[end]].size() + 3 <= kTokensPerScoring)) {
        const std::vector<TokenId>& text = texts[order[end++]];
        ids.push_back(cls_);
        ids.insert(ids.end(), asked.begin(), asked.end());
        ids.push_back(sep_);
        ids.insert(ids.end(), text.begin(), text.end());
        ids.push_back(sep_);
        types.insert(types.end(), asked.size() + 2, 0);
        types.insert(types.end(), text.size() + 1, 1);
        lengths.push_back(static_cast<int64_t>(asked.size() + text.size() + 3));
      }
      const at::Tensor states = encoder_->Encode(at::tensor(at::IntArrayRef(ids), at::kLong), lengths, std::nullopt,
                                                 at::tensor(at::IntArrayRef(types), at::kLong));  // [N, D]
      std::vector<at::Tensor> firsts;
      int64_t row = 0;
      for (const int64_t length : lengths) {
        firsts.push_back(states.select(0, row));
        row += length;
      }
      const at::Tensor pooled = at::tanh(at::linear(at::stack(firsts), pooler_weight_, pooler_bias_));  // [B, D]
      const at::Tensor logits = at::linear(pooled, classifier_weight_, classifier_bias_).contiguous();  // [B, 1]
      for (size_t i = begin; i < end; ++i) scores[order[i]] = logits.const_data_ptr<float>()[i - begin];
      begin = end;
    }
  } catch (const std::exception&) {
    return absl::InternalError("the reranker failed; is there enough memory?");
  }
  return scores;
}

}  // namespace blazon::language
