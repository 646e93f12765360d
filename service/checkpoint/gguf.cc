#include "service/checkpoint/gguf.h"

#include <ATen/ops/from_blob.h>

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/gguf_dequantize.h"
#include "service/checkpoint/gguf_format.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

using language::QuantFormat;
using namespace gguf;

// What kind of value a variant of GgufFile holds, for messages: integers are all widened to 64 bits.
constexpr uint32_t kHeldTypes[] = {kInt64, kUint64, kFloat64, kBool, kString, kArray};

absl::Status WrongType(std::string_view key, uint32_t type, const char* wanted) {
  return absl::InvalidArgumentError(absl::StrCat("metadata ", Quoted(key), " is of type ", ValueTypeName(type),
                                                 ", or out of range; wanted: ", wanted));
}

}  // namespace

bool StaysQuantised(uint32_t type) { return type == kQ4_0 || type == kQ4_1 || type == kQ8_0; }

std::string GgufTypeName(uint32_t type) {
  const TensorType* const known = FindTensorType(type);
  return known != nullptr ? known->name : absl::StrCat("type ", type);
}

absl::StatusOr<const GgufFile::Value*> GgufFile::Find(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end())
    return absl::NotFoundError(absl::StrCat(path_.string(), " has no metadata ", Quoted(key)));
  return &found->second;
}

absl::StatusOr<int64_t> GgufFile::Integer(std::string_view key) const {
  const absl::StatusOr<const Value*> value = Find(key);
  if (!value.ok()) return value.status();
  if (const int64_t* integer = std::get_if<int64_t>(*value)) return *integer;
  if (const uint64_t* integer = std::get_if<uint64_t>(*value); integer != nullptr && *integer >> 63 == 0)
    return static_cast<int64_t>(*integer);
  return WrongType(key, kHeldTypes[(*value)->index()], "an integer");
}

absl::StatusOr<double> GgufFile::Number(std::string_view key) const {
  const absl::StatusOr<const Value*> value = Find(key);
  if (!value.ok()) return value.status();
  if (const double* number = std::get_if<double>(*value)) return *number;
  if (const int64_t* integer = std::get_if<int64_t>(*value)) return static_cast<double>(*integer);
  if (const uint64_t* integer = std::get_if<uint64_t>(*value)) return static_cast<double>(*integer);
  return WrongType(key, kHeldTypes[(*value)->index()], "a number");
}

absl::StatusOr<bool> GgufFile::Bool(std::string_view key) const {
  const absl::StatusOr<const Value*> value = Find(key);
  if (!value.ok()) return value.status();
  if (const bool* boolean = std::get_if<bool>(*value)) return *boolean;
  return WrongType(key, kHeldTypes[(*value)->index()], "a boolean");
}

absl::StatusOr<std::string_view> GgufFile::String(std::string_view key) const {
  const absl::StatusOr<const Value*> value = Find(key);
  if (!value.ok()) return value.status();
  if (const std::string_view* text = std::get_if<std::string_view>(*value)) return *text;
  return WrongType(key, kHeldTypes[(*value)->index()], "a string");
}

absl::StatusOr<const GgufFile::Array*> GgufFile::FindArray(std::string_view key) const {
  const absl::StatusOr<const Value*> value = Find(key);
  if (!value.ok()) return value.status();
  if (const Array* array = std::get_if<Array>(*value)) return array;
  return WrongType(key, kHeldTypes[(*value)->index()], "an array");
}

absl::StatusOr<std::vector<std::string_view>> GgufFile::Strings(std::string_view key) const {
  const absl::StatusOr<const Array*> array = FindArray(key);
  if (!array.ok()) return array.status();
  if ((*array)->element_type != kString) return WrongType(key, (*array)->element_type, "an array of strings");
  std::vector<std::string_view> strings;
  strings.reserve((*array)->count);
  const std::byte* position = (*array)->bytes.data();
  for (uint64_t i = 0; i < (*array)->count; ++i) {  // lengths were checked at opening
    const uint64_t length = LoadAs<uint64_t>(position);
    strings.emplace_back(reinterpret_cast<const char*>(position) + sizeof(length), length);
    position += sizeof(length) + length;
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> GgufFile::Integers(std::string_view key) const {
  const absl::StatusOr<const Array*> array = FindArray(key);
  if (!array.ok()) return array.status();
  std::vector<int64_t> integers;
  const uint64_t size = ValueBytes((*array)->element_type);
  if (size == 0) return WrongType(key, (*array)->element_type, "an array of integers");
  integers.reserve((*array)->count);
  for (uint64_t i = 0; i < (*array)->count; ++i) {
    const std::optional<int64_t> value = LoadInteger((*array)->element_type, (*array)->bytes.data() + i * size);
    if (!value) return WrongType(key, (*array)->element_type, "an array of integers");
    integers.push_back(*value);
  }
  return integers;
}

absl::StatusOr<std::vector<double>> GgufFile::Numbers(std::string_view key) const {
  const absl::StatusOr<const Array*> array = FindArray(key);
  if (!array.ok()) return array.status();
  std::vector<double> numbers;
  const uint64_t size = ValueBytes((*array)->element_type);
  if (size == 0) return WrongType(key, (*array)->element_type, "an array of numbers");
  numbers.reserve((*array)->count);
  for (uint64_t i = 0; i < (*array)->count; ++i) {
    const std::optional<double> value = LoadNumber((*array)->element_type, (*array)->bytes.data() + i * size);
    if (!value) return WrongType(key, (*array)->element_type, "an array of numbers");
    numbers.push_back(*value);
  }
  return numbers;
}

std::vector<std::string_view> GgufFile::keys() const {
  std::vector<std::string_view> keys;
  keys.reserve(metadata_.size());
  for (const auto& [key, value] : metadata_) keys.push_back(key);
  return keys;
}

const GgufTensorInfo* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

absl::StatusOr<language::Weight> GgufFile::Tensor(std::string_view name) const {
  const GgufTensorInfo* const found = FindTensor(name);
  if (found == nullptr) return absl::NotFoundError(absl::StrCat(path_.string(), " has no tensor ", Quoted(name)));
  const GgufTensorInfo& tensor = *found;

  const auto view = [&](at::IntArrayRef shape, at::ScalarType type) {
    const absl::Span<const std::byte> part = mapping_->bytes().subspan(tensor.offset, tensor.bytes);
    return at::from_blob(
        const_cast<std::byte*>(part.data()), shape, [mapping = mapping_, part](void*) { mapping->Release(part); },
        at::TensorOptions().dtype(type));
  };
  const auto blocks = [&](QuantFormat format) -> absl::StatusOr<language::Weight> {
    if (tensor.shape.size() > 2) {
      return absl::UnimplementedError(absl::StrCat(path_.string(), ": tensor ", Quoted(name), " is ",
                                                   GgufTypeName(tensor.type), " in ", tensor.shape.size(),
                                                   " dimensions; Blazon reads quantised blocks in at most 2"));
    }
    language::QuantizedTensor quantized;
    quantized.format = format;
    quantized.rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    quantized.columns = tensor.shape.back();
    quantized.blocks = view({quantized.rows, static_cast<int64_t>(tensor.bytes) / quantized.rows}, at::kByte);
    return quantized;
  };
  switch (tensor.type) {
    case kF32:
      return view(tensor.shape, at::kFloat);
    case kF16:
      return view(tensor.shape, at::kHalf);
    case kBF16:
      return view(tensor.shape, at::kBFloat16);
    case kQ4_0:
      return blocks(QuantFormat::kQ4_0);
    case kQ4_1:
      return blocks(QuantFormat::kQ4_1);
    case kQ8_0:
      return blocks(QuantFormat::kQ8_0);
    default:
      break;
  }
  if (IsDequantizable(tensor.type)) {
    const absl::Span<const std::byte> part = mapping_->bytes().subspan(tensor.offset, tensor.bytes);
    at::Tensor values = DequantizeBlocks(tensor.type, part, tensor.shape);
    mapping_->Release(part);
    return values;
  }
  return absl::UnimplementedError(
      absl::StrCat(path_.string(), ": tensor ", Quoted(name), " is of type ", GgufTypeName(tensor.type),
                   "; Blazon reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K"));
}

}  // namespace blazon::service
