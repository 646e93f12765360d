// A Llama-architecture GGUF (SmolLM2, Llama, Mistral, TinyLlama) under Hugging Face's names and row order.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/checkpoint/gguf.h"

namespace blazon::service {

struct GgufLlama {
  std::string name;             // "general.name"; empty when the file has none
  int64_t width = 0;            // hidden_size
  int64_t layers = 0;           // num_hidden_layers
  int64_t heads = 0;            // num_attention_heads
  int64_t key_heads = 0;        // num_key_value_heads
  int64_t head_width = 0;       // head_dim
  int64_t mlp_width = 0;        // intermediate_size
  int64_t vocabulary_size = 0;  // rows of the embedding
  int64_t context_length = 0;   // max_position_embeddings
  double rope_base = 10000.0;   // rope_theta
  double norm_epsilon = 1e-5;   // rms_norm_eps
  bool tied_output = false;     // the embedding is the output matrix too; weights then hold no "lm_head.weight"

  // "model.embed_tokens.weight", "model.layers.N.self_attn.q_proj.weight", ..., "model.norm.weight", and
  // "lm_head.weight" unless tied. Views of the mapped file, except the q and k projections: their rows are copied back
  // into Hugging Face's order (whole rows move, so blocks stay quantised).
  language::StateDict weights;
};

// kUnimplemented: the file's architecture is not "llama", or it asks for something that Blazon does not compute (rope
// scaling, experts). kDataLoss: a tensor is missing, unknown or mis-shaped, or a count is out of range. The message
// names it.
absl::StatusOr<GgufLlama> ReadGgufLlama(const GgufFile& file);

}  // namespace blazon::service
