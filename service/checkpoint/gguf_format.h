// The numbers of the GGUF format, and how its values lie in memory. Internal to the reader.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

namespace blazon::service::gguf {

// Metadata types.
enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Bytes of one value; 0 for strings, arrays and unknown types.
inline uint64_t ValueBytes(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

inline const char* ValueTypeName(uint32_t type) {
  constexpr const char* kNames[] = {"uint8",   "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                    "boolean", "string", "array",  "uint64", "int64",  "float64"};
  return type < std::size(kNames) ? kNames[type] : "unknown type";
}

// ggml's tensor types: values in a block, bytes of a block.
struct TensorType {
  uint32_t number;
  const char* name;
  uint64_t block_values, block_bytes;
};
inline constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8, kQ4_K = 12,
                          kQ5_K = 13, kQ6_K = 14, kBF16 = 30;
inline constexpr TensorType kTensorTypes[] = {
    {kF32, "F32", 1, 4},       {kF16, "F16", 1, 2},      {kQ4_0, "Q4_0", 32, 18},   {kQ4_1, "Q4_1", 32, 20},
    {kQ5_0, "Q5_0", 32, 22},   {kQ5_1, "Q5_1", 32, 24},  {kQ8_0, "Q8_0", 32, 34},   {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},     {11, "Q3_K", 256, 110},   {kQ4_K, "Q4_K", 256, 144}, {kQ5_K, "Q5_K", 256, 176},
    {kQ6_K, "Q6_K", 256, 210}, {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},  {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},  {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},          {25, "I16", 1, 2},
    {26, "I32", 1, 4},         {27, "I64", 1, 8},        {28, "F64", 1, 8},         {29, "IQ1_M", 256, 56},
    {kBF16, "BF16", 1, 2},     {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},    {39, "MXFP4", 32, 17},
};

inline const TensorType* FindTensorType(uint32_t number) {
  const auto* const found = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                                         [number](const TensorType& type) { return type.number == number; });
  return found == std::end(kTensorTypes) ? nullptr : found;
}

template <typename T>
T LoadAs(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// The value of type `type` at `bytes` as an integer; nullopt when it is not an integer or does not fit.
inline std::optional<int64_t> LoadInteger(uint32_t type, const std::byte* bytes) {
  switch (type) {
    case kUint8:
      return LoadAs<uint8_t>(bytes);
    case kInt8:
      return LoadAs<int8_t>(bytes);
    case kUint16:
      return LoadAs<uint16_t>(bytes);
    case kInt16:
      return LoadAs<int16_t>(bytes);
    case kUint32:
      return LoadAs<uint32_t>(bytes);
    case kInt32:
      return LoadAs<int32_t>(bytes);
    case kInt64:
      return LoadAs<int64_t>(bytes);
    case kUint64: {
      const uint64_t value = LoadAs<uint64_t>(bytes);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

inline std::optional<double> LoadNumber(uint32_t type, const std::byte* bytes) {
  if (type == kFloat32) return LoadAs<float>(bytes);
  if (type == kFloat64) return LoadAs<double>(bytes);
  if (type == kUint64) return static_cast<double>(LoadAs<uint64_t>(bytes));
  if (const std::optional<int64_t> integer = LoadInteger(type, bytes)) return static_cast<double>(*integer);
  return std::nullopt;
}

}  // namespace blazon::service::gguf
