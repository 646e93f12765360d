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
#include "language/state_dict.h"
#include "language/text_embedder.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// Names of Hugging Face's config.json in comments.
struct BertConfig {
  int64_t width = 0;            // hidden_size
  int64_t layers = 0;           // num_hidden_layers
  int64_t heads = 0;            // num_attention_heads
  int64_t mlp_width = 0;        // intermediate_size
  int64_t vocabulary_size = 0;  // vocab_size
  int64_t max_positions = 0;    // max_position_embeddings
  double norm_epsilon = 1e-12;  // layer_norm_eps
  int64_t max_tokens = 0;       // of one text, [CLS] and [SEP] included; at most max_positions
  std::string weights_digest;   // names the weights in the fingerprint
};

// encoder.layer.I, with the checkpoint's names flattened
struct BertLayer {
  at::Tensor query_key_value_weight, query_key_value_bias;    // attention.self.{query,key,value} stacked: [3D, D], [3D]
  at::Tensor attention_output_weight, attention_output_bias;  // attention.output.dense: [D, D], [D]
  at::Tensor attention_norm_weight, attention_norm_bias;      // attention.output.LayerNorm: [D]
  at::Tensor intermediate_weight, intermediate_bias;          // intermediate.dense: [F, D], [F]
  at::Tensor output_weight, output_bias;                      // output.dense: [D, F], [D]
  at::Tensor output_norm_weight, output_norm_bias;            // output.LayerNorm: [D]
};

class BertEmbedder : public TextEmbedder {
 public:
  // weights: Hugging Face names, with or without the prefix "bert."; position_ids and the pooler are ignored.
  // kInvalidArgument: a tensor is missing, unknown or mis-shaped, or the tokenizer lacks [CLS] or [SEP]; the message
  // names it. Vectors and states come back on the CPU whatever the device.
  static absl::StatusOr<std::unique_ptr<BertEmbedder>> Create(const BertConfig& config, const StateDict& weights,
                                                              std::unique_ptr<Tokenizer> tokenizer,
                                                              at::Device device = at::kCPU);

  int64_t dimension() const override { return config_.width; }
  int64_t max_tokens() const override { return config_.max_tokens; }
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
  const BertConfig& config() const { return config_; }
  const std::vector<BertLayer>& layers() const { return layers_; }

 private:
  BertEmbedder() = default;

  // Runs texts, without [CLS] and [SEP], through the encoder; take gets every text's last hidden states, [T, D] fp32,
  // contiguous, control tokens included, in any order.
  // first_layer: take gets the states that States describes, side by side: [T, layers - first_layer, D].
  absl::Status ForEach(absl::Span<const std::vector<TokenId>> texts,
                       const std::function<void(size_t text, const at::Tensor& states)>& take,
                       std::optional<int64_t> first_layer = std::nullopt) const;

  // ids: int64 [N], the tokens of texts of these lengths one after another. Returns the last hidden states, [N, D], or
  // the states that States describes, [N, layers - first_layer, D].
  at::Tensor Encode(const at::Tensor& ids, absl::Span<const int64_t> lengths, std::optional<int64_t> first_layer) const;

  BertConfig config_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string fingerprint_;
  TokenId cls_ = 0, sep_ = 0;
  at::Tensor word_embeddings_;          // embeddings.word_embeddings, [V, D]
  at::Tensor position_embeddings_;      // embeddings.position_embeddings plus token type 0, [P, D]
  at::Tensor norm_weight_, norm_bias_;  // embeddings.LayerNorm, [D]
  std::vector<BertLayer> layers_;
};

}  // namespace blazon::language
