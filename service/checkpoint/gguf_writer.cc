#include "service/checkpoint/gguf_writer.h"

#include <ATen/ops/empty.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/durable_file.h"
#include "service/checkpoint/gguf_format.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory, little endian");

constexpr uint64_t kDataAlignment = 32;  // the format's default

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void PutText(std::string& out, std::string_view text) {
  Put<uint64_t>(out, text.size());
  out += text;
}

uint64_t Aligned(uint64_t size) { return (size + kDataAlignment - 1) / kDataAlignment * kDataAlignment; }

uint64_t BytesOf(uint32_t type, const std::vector<int64_t>& shape) {
  const gguf::TensorType& format = *gguf::FindTensorType(type);
  uint64_t values = 1;
  for (const int64_t size : shape) values *= static_cast<uint64_t>(size);
  return values / format.block_values * format.block_bytes;
}

at::Tensor Encode(const at::Tensor& values, uint32_t type) {
  if (type == gguf::kF16) return values.to(at::kHalf).contiguous();
  if (type == gguf::kQ8_0) return QuantizeQ8_0(values);
  return values.contiguous();
}

}  // namespace

void GgufWriter::BeginEntry(std::string_view key, uint32_t type) {
  ++entries_;
  PutText(metadata_, key);
  Put<uint32_t>(metadata_, type);
}

void GgufWriter::Set(std::string_view key, std::string_view value) {
  BeginEntry(key, gguf::kString);
  PutText(metadata_, value);
}

void GgufWriter::SetUnsigned(std::string_view key, uint32_t value) {
  BeginEntry(key, gguf::kUint32);
  Put(metadata_, value);
}

void GgufWriter::SetFloat(std::string_view key, float value) {
  BeginEntry(key, gguf::kFloat32);
  Put(metadata_, value);
}

void GgufWriter::SetBool(std::string_view key, bool value) {
  BeginEntry(key, gguf::kBool);
  Put<uint8_t>(metadata_, value ? 1 : 0);
}

void GgufWriter::Set(std::string_view key, const std::vector<std::string>& values) {
  BeginEntry(key, gguf::kArray);
  Put<uint32_t>(metadata_, gguf::kString);
  Put<uint64_t>(metadata_, values.size());
  for (const std::string& value : values) PutText(metadata_, value);
}

void GgufWriter::Set(std::string_view key, const std::vector<int32_t>& values) {
  BeginEntry(key, gguf::kArray);
  Put<uint32_t>(metadata_, gguf::kInt32);
  Put<uint64_t>(metadata_, values.size());
  for (const int32_t value : values) Put(metadata_, value);
}

void GgufWriter::Set(std::string_view key, const std::vector<float>& values) {
  BeginEntry(key, gguf::kArray);
  Put<uint32_t>(metadata_, gguf::kFloat32);
  Put<uint64_t>(metadata_, values.size());
  for (const float value : values) Put(metadata_, value);
}

void GgufWriter::AddTensor(std::string_view name, uint32_t type, const std::vector<int64_t>& shape,
                           std::function<at::Tensor()> values) {
  tensors_.push_back({std::string(name), type, shape, std::move(values)});
}

absl::Status GgufWriter::Write(const std::filesystem::path& path) const {
  std::string header = "GGUF";
  Put<uint32_t>(header, 3);
  Put<uint64_t>(header, tensors_.size());
  Put<uint64_t>(header, entries_);
  header += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    PutText(header, tensor.name);
    Put<uint32_t>(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
      Put<uint64_t>(header, static_cast<uint64_t>(*size));
    Put<uint32_t>(header, tensor.type);
    Put<uint64_t>(header, offset);
    offset += Aligned(BytesOf(tensor.type, tensor.shape));
  }
  header.resize(Aligned(header.size()), '\0');
  return WriteDurably(path, [&](FileAppender& file) {
    absl::Status status = file.Append(header.data(), header.size());
    for (const Tensor& tensor : tensors_) {
      if (!status.ok()) return status;
      const at::Tensor encoded = Encode(tensor.values(), tensor.type);
      const uint64_t bytes = BytesOf(tensor.type, tensor.shape);
      if (encoded.nbytes() != bytes)
        return absl::InternalError(absl::StrCat("tensor ", Quoted(tensor.name), " is not of the size announced"));
      status = file.Append(encoded.const_data_ptr(), bytes);
      const std::string padding(Aligned(bytes) - bytes, '\0');
      if (status.ok()) status = file.Append(padding.data(), padding.size());
    }
    return status;
  });
}

at::Tensor QuantizeQ8_0(const at::Tensor& values) {
  constexpr int64_t kBlock = 32, kBlockBytes = 34;
  const at::Tensor dense = values.to(at::kFloat).contiguous();
  const int64_t blocks = dense.numel() / kBlock;
  at::Tensor result = at::empty({dense.size(0), dense.size(-1) / kBlock * kBlockBytes}, at::kByte);
  const float* from = dense.const_data_ptr<float>();
  uint8_t* to = result.mutable_data_ptr<uint8_t>();
  for (int64_t block = 0; block < blocks; ++block, from += kBlock, to += kBlockBytes) {
    float largest = 0;
    for (int64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(from[i]));
    const float scale = largest / 127, inverse = scale == 0 ? 0 : 1 / scale;
    const c10::Half half(scale);
    std::memcpy(to, &half.x, sizeof half.x);
    for (int64_t i = 0; i < kBlock; ++i)
      to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(from[i] * inverse)));
  }
  return result;
}

}  // namespace blazon::service
