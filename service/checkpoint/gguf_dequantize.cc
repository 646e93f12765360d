// Compiled with -ffp-contract=off: every product and sum is rounded by itself, as in ggml's reference.
#include "service/checkpoint/gguf_dequantize.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>

#include <cstring>

#include "language/ops/parallel_for.h"
#include "service/checkpoint/gguf_format.h"

namespace blazon::service {
namespace {

float LoadHalf(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
}

// Blocks of 32: scale d (and minimum m), the fifth bits of all values as one number, then the low four bits: byte i
// holds value i in its low half and value i + 16 in its high half.
struct FifthBits {
  explicit FifthBits(const uint8_t* bytes) { std::memcpy(&bits, bytes, sizeof(bits)); }
  int Of(int value) const { return static_cast<int>(bits >> value & 1) << 4; }
  uint32_t bits;
};

// value = d * (q - 16)
void DequantizeQ5_0(const uint8_t* block, float* values) {
  const float d = LoadHalf(block);
  const FifthBits high(block + 2);
  for (int i = 0; i < 16; ++i) {
    values[i] = static_cast<float>(((block[6 + i] & 15) | high.Of(i)) - 16) * d;
    values[i + 16] = static_cast<float>(((block[6 + i] >> 4) | high.Of(i + 16)) - 16) * d;
  }
}

// value = d * q + m
void DequantizeQ5_1(const uint8_t* block, float* values) {
  const float d = LoadHalf(block), m = LoadHalf(block + 2);
  const FifthBits high(block + 4);
  for (int i = 0; i < 16; ++i) {
    values[i] = static_cast<float>((block[8 + i] & 15) | high.Of(i)) * d + m;
    values[i + 16] = static_cast<float>((block[8 + i] >> 4) | high.Of(i + 16)) * d + m;
  }
}

// Super-blocks of 256 in eight groups of 32: scale d of the scales and minimum's scale m, then the groups' own six-bit
// scales and minima in twelve bytes.
struct Group {
  float scale, minimum;
};
Group GroupOf(const uint8_t* block, int group) {
  const uint8_t* const packed = block + 4;
  int scale = 0, minimum = 0;
  if (group < 4) {
    scale = packed[group] & 63;
    minimum = packed[group + 4] & 63;
  } else {
    scale = (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4;
    minimum = (packed[group + 4] >> 4) | (packed[group] >> 6) << 4;
  }
  return {LoadHalf(block) * static_cast<float>(scale), LoadHalf(block + 2) * static_cast<float>(minimum)};
}

// value = scale * q - minimum; 32 bytes hold two groups, one in the low halves and one in the high ones.
void DequantizeQ4_K(const uint8_t* block, float* values) {
  for (int group = 0; group < 8; ++group) {
    const Group g = GroupOf(block, group);
    const uint8_t* const quants = block + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      values[group * 32 + i] = g.scale * static_cast<float>(quants[i] >> shift & 15) - g.minimum;
    }
  }
}

// The same, with the fifth bits of group g in bit g of 32 bytes.
void DequantizeQ5_K(const uint8_t* block, float* values) {
  const uint8_t* const high = block + 16;
  for (int group = 0; group < 8; ++group) {
    const Group g = GroupOf(block, group);
    const uint8_t* const quants = block + 48 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int quant = (quants[i] >> shift & 15) + ((high[i] >> group & 1) << 4);
      values[group * 32 + i] = g.scale * static_cast<float>(quant) - g.minimum;
    }
  }
}

// Two halves of 128: 64 bytes of low four bits, 32 bytes of high two bits, eight signed scales of 16 values each; d at
// the end. value = d * scale * (q - 32)
void DequantizeQ6_K(const uint8_t* block, float* values) {
  const float d = LoadHalf(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* const low = block + half * 64;
    const uint8_t* const high = block + 128 + half * 32;
    const auto* const scales = reinterpret_cast<const int8_t*>(block + 192 + half * 8);
    for (int part = 0; part < 4; ++part) {
      for (int i = 0; i < 32; ++i) {
        const int four = low[part % 2 * 32 + i] >> (part / 2 * 4) & 15;
        const int two = high[i] >> (part * 2) & 3;
        const float scale = d * static_cast<float>(scales[part * 2 + i / 16]);
        values[half * 128 + part * 32 + i] = scale * static_cast<float>((four | two << 4) - 32);
      }
    }
  }
}

struct Format {
  uint32_t type;
  void (*dequantize)(const uint8_t* block, float* values);
};
constexpr Format kFormats[] = {{gguf::kQ5_0, DequantizeQ5_0},
                               {gguf::kQ5_1, DequantizeQ5_1},
                               {gguf::kQ4_K, DequantizeQ4_K},
                               {gguf::kQ5_K, DequantizeQ5_K},
                               {gguf::kQ6_K, DequantizeQ6_K}};

const Format* Find(uint32_t type) {
  for (const Format& format : kFormats) {
    if (format.type == type) return &format;
  }
  return nullptr;
}

}  // namespace

bool IsDequantizable(uint32_t type) { return Find(type) != nullptr; }

at::Tensor DequantizeBlocks(uint32_t type, absl::Span<const std::byte> bytes, const std::vector<int64_t>& shape) {
  const Format* const format = Find(type);
  TORCH_CHECK(format != nullptr, "blocks of type ", type, " are not dequantised");
  const gguf::TensorType& blocks_of = *gguf::FindTensorType(type);
  const auto block_bytes = static_cast<int64_t>(blocks_of.block_bytes);
  const auto block_values = static_cast<int64_t>(blocks_of.block_values);
  at::Tensor result = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  const int64_t blocks = result.numel() / block_values;
  TORCH_CHECK(blocks * block_bytes == static_cast<int64_t>(bytes.size()), "blocks do not fit their shape");
  const auto* const from = reinterpret_cast<const uint8_t*>(bytes.data());
  float* const to = result.mutable_data_ptr<float>();
  constexpr int64_t kBlocksPerTask = 256;
  language::ParallelFor(blocks, kBlocksPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) format->dequantize(from + i * block_bytes, to + i * block_values);
  });
  return result;
}

}  // namespace blazon::service
