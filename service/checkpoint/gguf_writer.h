// Writes a GGUF file (version 3, little endian): metadata, then tensors.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
// Thread safety: none.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace blazon::service {

class GgufWriter {
 public:
  // Metadata, in the order of the file.
  void Set(std::string_view key, std::string_view value);
  void SetUnsigned(std::string_view key, uint32_t value);
  void SetFloat(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void Set(std::string_view key, const std::vector<std::string>& values);
  void Set(std::string_view key, const std::vector<int32_t>& values);
  void Set(std::string_view key, const std::vector<float>& values);

  // A tensor of ggml's type number kF32, kF16 or kQ8_0 (gguf_format.h); shape: outermost dimension first, of kQ8_0 its
  // last a multiple of 32. values: called when the file is written; gives the tensor in fp32, of that shape.
  void AddTensor(std::string_view name, uint32_t type, const std::vector<int64_t>& shape,
                 std::function<at::Tensor()> values);

  // Writes under a temporary name beside `path`, makes it durable and renames it. One tensor is in memory at a time.
  // kUnavailable, kResourceExhausted: the file cannot be written; `path` is then as it was.
  absl::Status Write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<int64_t> shape;
    std::function<at::Tensor()> values;
  };
  void BeginEntry(std::string_view key, uint32_t type);

  uint64_t entries_ = 0;
  std::string metadata_;
  std::vector<Tensor> tensors_;
};

// Rows of blocks of 32 values, each an fp16 scale (the largest magnitude / 127) and 32 rounded int8: uint8
// [rows, columns / 32 * 34], bit for bit what ggml's reference quantisation gives. values: fp32 [rows, columns].
at::Tensor QuantizeQ8_0(const at::Tensor& values);

}  // namespace blazon::service
