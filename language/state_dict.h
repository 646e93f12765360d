// A checkpoint's weights by name: Hugging Face tensor names and row order, dense or still quantised.
// Filled by service/checkpoint, read by the model files.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace blazon::language {

// Block formats of GGUF (ggml). Each row of a matrix is a run of blocks of 32 values.
enum class QuantFormat { kQ4_0, kQ4_1, kQ8_0 };

// Values in one block, and its size in bytes.
constexpr int64_t kQuantBlockValues = 32;
int64_t QuantBlockBytes(QuantFormat format);

// A matrix [rows, columns] as quantised blocks. Immutable; copies share `blocks`.
struct QuantizedTensor {
  QuantFormat format = QuantFormat::kQ4_1;
  int64_t rows = 0;
  int64_t columns = 0;  // a multiple of kQuantBlockValues
  at::Tensor blocks;    // uint8 [rows, columns / 32 * QuantBlockBytes(format)]
};

// The values of `tensor`, fp32 [rows, columns], bit for bit what ggml's dequantisation gives.
at::Tensor Dequantize(const QuantizedTensor& tensor);

using Weight = std::variant<at::Tensor, QuantizedTensor>;

// Name -> weight. Names are the Hugging Face ones ("model.layers.0.self_attn.q_proj.weight").
using StateDict = std::map<std::string, Weight>;

}  // namespace blazon::language
