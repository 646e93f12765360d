// The transformer of a vision tower (Dosovitskiy et al. 2021, arXiv 2010.11929): attention and MLP, each after its
// norm.
//
// Shapes: B pictures, T tokens, D width, F width of the MLP.
// Thread safety: const after Take.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "vision/weight_taker.h"

namespace blazon::vision {

// GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415), exactly, by tanh, or as x * sigmoid(1.702 x).
enum class Activation { kGelu, kGeluTanh, kQuickGelu };
at::Tensor Activate(const at::Tensor& x, Activation activation);

// Names of Hugging Face's config.json in comments.
struct TowerConfig {
  int64_t width = 0;                          // hidden_size
  int64_t layers = 0;                         // num_hidden_layers
  int64_t heads = 0;                          // num_attention_heads; divides width
  int64_t mlp_width = 0;                      // intermediate_size
  int64_t image_size = 0;                     // image_size, a side in pixels
  int64_t patch_size = 0;                     // patch_size, a side in pixels
  double norm_epsilon = 0.0;                  // layer_norm_eps
  Activation activation = Activation::kGelu;  // hidden_act
  bool query_bias = true;                     // qkv_bias: of queries, keys and values

  int64_t grid() const { return image_size / patch_size; }  // patches a side
};

// kInvalidArgument: a size is impossible; the message names it.
absl::Status CheckTowerConfig(const TowerConfig& config);

// What a layer's modules are called, after the layer's own name.
struct EncoderNames {
  std::string layer = "encoder.layers.";  // and the number
  std::string norm1 = "layer_norm1", norm2 = "layer_norm2";
  std::vector<std::string> query_key_value = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};  // or one
  std::string output = "self_attn.out_proj";
  std::string fc1 = "mlp.fc1", fc2 = "mlp.fc2";
};

class TransformerEncoder {
 public:
  void Take(WeightTaker& take, const TowerConfig& config, const EncoderNames& names = {});

  // The first `layers` layers. x: [B, T, D]. seen: bool [B, T], tokens that others may see; undefined: all.
  // Returns [B, T, D].
  at::Tensor Forward(const at::Tensor& x, int64_t layers, const at::Tensor& seen = {}) const;

 private:
  struct Layer {
    NormLayer norm1;
    DenseLayer query_key_value;  // [3D, D]
    DenseLayer output;           // [D, D]
    NormLayer norm2;
    DenseLayer fc1;  // [F, D]
    DenseLayer fc2;  // [D, F]
  };

  int64_t heads_ = 0;
  Activation activation_ = Activation::kGelu;
  std::vector<Layer> layers_;
};

}  // namespace blazon::vision
