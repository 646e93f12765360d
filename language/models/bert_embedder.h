// Sentence embeddings of a BERT encoder (Devlin et al. 2018, arXiv 1810.04805): mean of the last hidden states, L2 norm
// 1, as sentence-transformers computes them for all-MiniLM-L6-v2.
//
// Shapes: B texts, T tokens, D width, H heads, C channels of a head, F width of the MLP.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/models/bert_encoder.h"
#include "language/models/int8_bert.h"
#include "language/state_dict.h"
#include "language/text_embedder.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

class BertEmbedder : public TextEmbedder {
 public:
  // weights: Hugging Face names, with or without the prefix "bert."; position_ids and the pooler are ignored.
  // kInvalidArgument: a tensor is missing, unknown or mis-shaped, or the tokenizer lacks [CLS] or [SEP]; the message
  // names it. Vectors and states come back on the CPU whatever the device. precision: of Embed and EmbedPieces on the
  // CPU; States are always fp32. Vectors of both precisions may be compared, so they have one fingerprint.
  static absl::StatusOr<std::unique_ptr<BertEmbedder>> Create(const BertConfig& config, const StateDict& weights,
                                                              std::unique_ptr<Tokenizer> tokenizer,
                                                              at::Device device = at::kCPU,
                                                              EmbedderPrecision precision = EmbedderPrecision::kInt8);

  int64_t dimension() const override { return encoder_->config().width; }
  int64_t max_tokens() const override { return encoder_->config().max_tokens; }
  int64_t CountTokens(std::string_view text) const override;
  const std::string& fingerprint() const override { return fingerprint_; }
  absl::StatusOr<std::vector<float>> Embed(absl::Span<const std::string> texts) const override;
  absl::StatusOr<std::vector<PieceEmbeddings>> EmbedPieces(
      absl::Span<const std::vector<std::string>> texts) const override;

  // The hidden states of each text, [CLS] and [SEP] included: element i of a text's list is [T, D] fp32 after
  // first_layer + i layers, up to those after the last but one; what a copy of the layers above first_layer reads.
  // first_layer: 0 .. config().layers - 1. Refuses a text of more than max_tokens() tokens.
  absl::StatusOr<std::vector<std::vector<at::Tensor>>> States(absl::Span<const std::string> texts,
                                                              int64_t first_layer) const;
  EmbedderPrecision precision() const override { return fast_ ? EmbedderPrecision::kInt8 : EmbedderPrecision::kFp32; }
  const BertConfig& config() const { return encoder_->config(); }
  const std::vector<BertLayer>& layers() const { return encoder_->layers(); }

 private:
  BertEmbedder() = default;

  // Runs texts, without [CLS] and [SEP], through the encoder; take gets every text's last hidden states, [T, D] fp32,
  // contiguous, control tokens included, in any order, from several threads at once.
  // first_layer: take gets the states that States describes, side by side: [T, layers - first_layer, D].
  absl::Status ForEach(absl::Span<const std::vector<TokenId>> texts,
                       const std::function<void(size_t text, const at::Tensor& states)>& take,
                       std::optional<int64_t> first_layer = std::nullopt) const;

  std::unique_ptr<BertEncoder> encoder_;
  std::unique_ptr<Int8Bert> fast_;  // null: everything is computed by encoder_
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string fingerprint_;
  TokenId cls_ = 0, sep_ = 0;
};

}  // namespace blazon::language
