// What must hold of the configs of decoders with rotary positions and grouped keys (Llama, Gemma).
#pragma once

#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {

// Config: a struct with the members of LlamaConfig that are named here. kInvalidArgument: the message has
// config.json's name and the value.
template <typename Config>
absl::Status CheckDecoderConfig(const Config& config) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"hidden_size", config.width},          {"num_hidden_layers", config.layers},
      {"num_attention_heads", config.heads},  {"num_key_value_heads", config.key_heads},
      {"head_dim", config.head_width},        {"intermediate_size", config.mlp_width},
      {"vocab_size", config.vocabulary_size}, {"max_position_embeddings", config.context_length}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", size, "; it must be at least 1"));
  }
  if (config.heads % config.key_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads ", config.heads,
                                                   " is not a multiple of num_key_value_heads ", config.key_heads));
  }
  if (config.head_width % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim is ", config.head_width, "; rotary positions need an even one"));
  }
  if (!config.windows.empty() && std::ssize(config.windows) != config.layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer_types has ", config.windows.size(), " entries for ", config.layers, " layers"));
  }
  if (!(config.rope_theta > 0) || !(config.norm_epsilon > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope_theta ", config.rope_theta, " and rms_norm_eps ", config.norm_epsilon, " must be above 0"));
  }
  return absl::OkStatus();
}

}  // namespace blazon::language
