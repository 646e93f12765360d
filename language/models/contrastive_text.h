// The text side of models that put texts and pictures into one space: CLIP (Radford et al. 2021, arXiv 2103.00020) and
// SigLIP (Zhai et al. 2023, arXiv 2303.15343).
//
// Shapes: B texts, T tokens, D width, E width of the common space.
// Thread safety: const after Create; every method may be called from several threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/ops/layer_norm.h"
#include "language/ops/linear.h"
#include "language/state_dict.h"
#include "language/text_embedder.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

// Names of Hugging Face's config.json in comments.
struct ContrastiveTextConfig {
  enum class Kind {
    kClip,    // a token sees those before it; the vector is the end token's, projected
    kSiglip,  // all see all, padding too; the vector is the last token's, projected
  };
  enum class Activation { kGelu, kGeluTanh, kQuickGelu };

  Kind kind = Kind::kClip;
  int64_t width = 0;                               // hidden_size
  int64_t layers = 0;                              // num_hidden_layers
  int64_t heads = 0;                               // num_attention_heads; divides width
  int64_t mlp_width = 0;                           // intermediate_size
  int64_t vocabulary_size = 0;                     // vocab_size
  int64_t max_tokens = 0;                          // max_position_embeddings, control tokens included
  int64_t embedding_width = 0;                     // projection_dim of CLIP, projection_size of SigLIP's text_config
  double norm_epsilon = 1e-5;                      // layer_norm_eps
  Activation activation = Activation::kQuickGelu;  // hidden_act
  // CLIP's end token: its first place counts. 2 stands in configs that are wrong about it, and the place of the
  // greatest id counts instead, as in transformers.
  TokenId end = -1;  // eos_token_id
  // What Embed puts around a text's own tokens; those of the tokenizer that belongs to the checkpoint. -1: none.
  TokenId begin_text = -1, end_text = -1;
  TokenId pad = -1;            // SigLIP: up to max_tokens
  std::string weights_digest;  // names the weights in the fingerprint
};

class ContrastiveTextEmbedder : public TextEmbedder {
 public:
  // weights: by Hugging Face's names of a text_model without that prefix, and CLIP's "text_projection.weight".
  // tokenizer: null where only token ids will be embedded.
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<ContrastiveTextEmbedder>> Create(const ContrastiveTextConfig& config,
                                                                         const StateDict& weights,
                                                                         std::unique_ptr<Tokenizer> tokenizer,
                                                                         at::Device device = at::kCPU);

  // The whole sequences, control tokens and padding included. Result: texts.size() * dimension() floats, each text's of
  // L2 norm 1. kInvalidArgument: a text is empty, longer than max_tokens(), has an id outside of the vocabulary, or
  // (CLIP) has no end token.
  absl::StatusOr<std::vector<float>> EmbedTokens(absl::Span<const std::vector<TokenId>> texts) const;

  int64_t dimension() const override { return config_.embedding_width; }
  int64_t max_tokens() const override { return config_.max_tokens; }
  int64_t CountTokens(std::string_view text) const override;  // without padding
  const std::string& fingerprint() const override { return fingerprint_; }
  // kFailedPrecondition: there is no tokenizer.
  absl::StatusOr<std::vector<float>> Embed(absl::Span<const std::string> texts) const override;
  // kUnimplemented: these vectors are made of one token, so the pieces of a text have none of their own.
  absl::StatusOr<std::vector<PieceEmbeddings>> EmbedPieces(
      absl::Span<const std::vector<std::string>> texts) const override;

 private:
  struct Layer {
    LayerNorm layer_norm1;
    Linear q_proj, k_proj, v_proj, out_proj;  // self_attn: [D, D]
    LayerNorm layer_norm2;
    Linear fc1, fc2;  // mlp: [F, D], [D, F]
  };

  ContrastiveTextEmbedder() = default;
  // Where a text's vector is read.
  absl::StatusOr<int64_t> PooledPlace(const std::vector<TokenId>& text) const;
  // ids: int64 [B, T]. Returns the normed last hidden states, [B, T, D].
  at::Tensor Encode(const at::Tensor& ids) const;

  ContrastiveTextConfig config_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string fingerprint_;
  Linear token_embedding_;         // embeddings.token_embedding: [V, D]
  at::Tensor position_embedding_;  // embeddings.position_embedding: [P, D]
  std::vector<Layer> layers_;      // encoder.layers
  LayerNorm final_layer_norm_;
  Linear projection_;  // text_projection (CLIP) or head (SigLIP): [E, D]
};

}  // namespace blazon::language
