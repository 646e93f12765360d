// The block formats of ggml that have no kernels of their own: turned to fp32 when a file is read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace blazon::service {

// Q5_0, Q5_1, Q4_K, Q5_K and Q6_K, by ggml's number.
bool IsDequantizable(uint32_t type);

// bytes: the whole blocks of a tensor of `shape`, row after row. Returns fp32 of that shape, bit for bit what ggml's
// dequantisation gives.
at::Tensor DequantizeBlocks(uint32_t type, absl::Span<const std::byte> bytes, const std::vector<int64_t>& shape);

}  // namespace blazon::service
