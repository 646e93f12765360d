// A BERT encoder (Devlin et al. 2018, arXiv 1810.04805): embeddings and layers, without a head.
//
// Shapes: B texts, T tokens, N tokens of all texts, D width, H heads, C channels of a head, F width of the MLP.
// Thread safety: const after construction.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/state_dict.h"
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

// What every text of a BERT begins and ends with.
struct BertControlTokens {
  TokenId cls = 0, sep = 0;
};
// kInvalidArgument: the tokenizer lacks one of them, or has more tokens than the embedding.
absl::StatusOr<BertControlTokens> FindControlTokens(const Tokenizer& tokenizer, const BertConfig& config);

struct BertEmbeddings {
  at::Tensor words;                   // embeddings.word_embeddings, [V, D]
  at::Tensor positions;               // embeddings.position_embeddings plus token type 0, [P, D]
  at::Tensor types;                   // embeddings.token_type_embeddings minus token type 0, [2, D]
  at::Tensor norm_weight, norm_bias;  // embeddings.LayerNorm, [D]
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

class BertEncoder {
 public:
  // Tensors of a head by name, without the prefix "bert.", with their shapes.
  using HeadShapes = std::map<std::string, std::vector<int64_t>>;

  // weights: Hugging Face names, with or without the prefix "bert."; position_ids are ignored, and so is the pooler
  // when head_shapes does not name it. `head` gets the tensors that head_shapes names, fp32. kInvalidArgument: a tensor
  // is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<BertEncoder>> Create(const BertConfig& config, const StateDict& weights,
                                                             const HeadShapes& head_shapes = {},
                                                             std::map<std::string, at::Tensor>* head = nullptr,
                                                             at::Device device = at::kCPU);

  // ids: int64 [N], the tokens of texts of these lengths one after another; types: int64 [N], 0 or 1, or undefined for
  // zeros. Returns the last hidden states, [N, D] fp32; with first_layer the states after first_layer + i layers, up to
  // those after the last but one, [N, layers - first_layer, D].
  at::Tensor Encode(const at::Tensor& ids, absl::Span<const int64_t> lengths,
                    std::optional<int64_t> first_layer = std::nullopt, const at::Tensor& types = {}) const;

  const BertConfig& config() const { return config_; }
  const BertEmbeddings& embeddings() const { return embeddings_; }
  const std::vector<BertLayer>& layers() const { return layers_; }

 private:
  BertEncoder() = default;

  BertConfig config_;
  BertEmbeddings embeddings_;
  std::vector<BertLayer> layers_;
};

}  // namespace blazon::language
