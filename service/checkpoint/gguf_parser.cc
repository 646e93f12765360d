// GgufFile::Open: one walk over the file that checks all of it.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/gguf.h"
#include "service/checkpoint/gguf_format.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

using namespace gguf;

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory, little endian");

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 16;
constexpr uint32_t kMaxDimensions = 4;
// The least that one entry takes: key or name (length and one byte), type and value; dimension count, one dimension,
// type, offset.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// a * b, or nullopt when it does not fit.
std::optional<uint64_t> Multiply(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

}  // namespace

// Walks the file once, front to back. After a failure status() says what and where.
class GgufFile::Parser {
 public:
  explicit Parser(GgufFile& file) : file_(file), bytes_(file.mapping_->bytes()) {}

  absl::Status Parse() {
    uint64_t tensor_count = 0, metadata_count = 0;
    if (ReadHeader(&tensor_count, &metadata_count) && ReadMetadata(metadata_count) && ReadDirectory(tensor_count))
      PlaceTensors();
    return status_;
  }

 private:
  uint64_t left() const { return bytes_.size() - position_; }

  bool Fail(absl::StatusCode code, const std::string& what) {
    status_ = absl::Status(
        code, absl::StrCat(file_.path_.string(), ": ", what, " (byte ", position_, " of ", bytes_.size(), ")"));
    return false;
  }
  bool Broken(const std::string& what) {
    return Fail(absl::StatusCode::kDataLoss, absl::StrCat("broken GGUF: ", what));
  }

  template <typename T>
  bool Read(T* value, const std::string& what) {
    if (left() < sizeof(T)) return Broken(absl::StrCat("the file ends inside ", what));
    *value = LoadAs<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return true;
  }

  bool ReadString(std::string_view* value, const std::string& what) {
    uint64_t length = 0;
    if (!Read(&length, what)) return false;
    if (length > left()) return Broken(absl::StrCat(what, " claims ", length, " bytes, more than the file has left"));
    *value = std::string_view(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return true;
  }

  bool ReadHeader(uint64_t* tensor_count, uint64_t* metadata_count) {
    uint32_t magic = 0;
    if (left() < sizeof(magic) || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      return Fail(absl::StatusCode::kDataLoss, "not a GGUF file: it does not begin with \"GGUF\"");
    }
    if (!Read(&magic, "the header") || !Read(&file_.version_, "the header")) return false;
    if (file_.version_ != 2 && file_.version_ != 3) {
      const bool big_endian = file_.version_ == 0x02000000 || file_.version_ == 0x03000000;
      return Fail(absl::StatusCode::kUnimplemented,
                  big_endian ? "a big-endian GGUF; Blazon reads little-endian ones"
                             : absl::StrCat("GGUF version ", file_.version_, "; Blazon reads versions 2 and 3"));
    }
    if (!Read(tensor_count, "the header") || !Read(metadata_count, "the header")) return false;
    if (*metadata_count > left() / kMinMetadataBytes) {
      return Broken(
          absl::StrCat("the header claims ", *metadata_count, " metadata entries, more than the file has room for"));
    }
    if (*tensor_count > left() / kMinTensorBytes) {
      return Broken(absl::StrCat("the header claims ", *tensor_count, " tensors, more than the file has room for"));
    }
    return true;
  }

  bool ReadMetadata(uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      std::string_view key;
      uint32_t type = 0;
      Value value;
      if (!ReadString(&key, absl::StrCat("the key of metadata entry ", i))) return false;
      if (key.empty()) return Broken(absl::StrCat("metadata entry ", i, " has an empty key"));
      if (!Read(&type, absl::StrCat("metadata ", Quoted(key))) || !ReadValue(key, type, &value)) return false;
      if (!file_.metadata_.emplace(key, value).second)
        return Broken(absl::StrCat("metadata ", Quoted(key), " is there twice"));
    }
    return true;
  }

  bool ReadValue(std::string_view key, uint32_t type, Value* value) {
    const std::string what = absl::StrCat("metadata ", Quoted(key));
    if (type == kString) {
      std::string_view text;
      if (!ReadString(&text, what)) return false;
      *value = text;
      return true;
    }
    if (type == kArray) return ReadArray(what, value);
    const uint64_t size = ValueBytes(type);
    if (size == 0) return Broken(absl::StrCat(what, " is of unknown type ", type));
    if (left() < size) return Broken(absl::StrCat("the file ends inside ", what));
    const std::byte* const bytes = bytes_.data() + position_;
    if (type == kBool) {
      const uint8_t byte = LoadAs<uint8_t>(bytes);
      if (byte > 1) return Broken(absl::StrCat(what, " is a boolean with the value ", byte));
      *value = byte == 1;
    } else if (type == kFloat32 || type == kFloat64) {
      *value = *LoadNumber(type, bytes);
    } else if (type == kUint64) {
      *value = LoadAs<uint64_t>(bytes);
    } else {
      *value = *LoadInteger(type, bytes);
    }
    position_ += size;
    return true;
  }

  bool ReadArray(const std::string& what, Value* value) {
    Array array;
    if (!Read(&array.element_type, what) || !Read(&array.count, what)) return false;
    const uint64_t begin = position_;
    if (array.element_type == kString) {
      if (array.count > left() / sizeof(uint64_t)) {
        return Broken(absl::StrCat(what, " claims ", array.count, " strings, more than the file has room for"));
      }
      std::string_view element;
      for (uint64_t i = 0; i < array.count; ++i) {
        if (!ReadString(&element, what)) return false;
      }
    } else if (array.element_type == kArray) {
      return Fail(absl::StatusCode::kUnimplemented,
                  absl::StrCat(what, " is an array of arrays, which Blazon does not read"));
    } else {
      const uint64_t size = ValueBytes(array.element_type);
      if (size == 0) return Broken(absl::StrCat(what, " is an array of unknown type ", array.element_type));
      if (array.count > left() / size) {
        return Broken(absl::StrCat(what, " claims ", array.count, " values, more than the file has room for"));
      }
      position_ += array.count * size;
    }
    array.bytes = bytes_.subspan(begin, position_ - begin);
    *value = array;
    return true;
  }

  bool ReadDirectory(uint64_t count) {
    file_.tensors_.reserve(count);  // count was checked against the file's size
    for (uint64_t i = 0; i < count; ++i) {
      GgufTensorInfo tensor;
      uint32_t dimensions = 0;
      if (!ReadString(&tensor.name, absl::StrCat("the name of tensor ", i))) return false;
      const std::string what = absl::StrCat("tensor ", Quoted(tensor.name));
      if (tensor.name.empty()) return Broken(absl::StrCat("tensor ", i, " has an empty name"));
      if (!Read(&dimensions, what)) return false;
      if (dimensions == 0 || dimensions > kMaxDimensions) {
        return Broken(absl::StrCat(what, " has ", dimensions, " dimensions; 1 to ", kMaxDimensions, " are possible"));
      }
      tensor.shape.resize(dimensions);
      for (uint32_t d = dimensions; d-- > 0;) {  // innermost first in the file
        uint64_t size = 0;
        if (!Read(&size, what)) return false;
        if (size == 0 || size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          return Broken(absl::StrCat(what, " has a dimension of ", size));
        }
        tensor.shape[d] = static_cast<int64_t>(size);
      }
      if (!Read(&tensor.type, what) || !Read(&tensor.offset, what) || !MeasureTensor(what, &tensor)) return false;
      if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second)
        return Broken(absl::StrCat(what, " is there twice"));
      file_.tensors_.push_back(std::move(tensor));
    }
    return true;
  }

  bool MeasureTensor(const std::string& what, GgufTensorInfo* tensor) {
    const TensorType* const type = FindTensorType(tensor->type);
    if (type == nullptr) {
      return Fail(absl::StatusCode::kUnimplemented, absl::StrCat(what, " is of unknown type ", tensor->type));
    }
    const uint64_t row_values = static_cast<uint64_t>(tensor->shape.back());
    if (row_values % type->block_values != 0) {
      return Broken(absl::StrCat(what, " is ", type->name, " with rows of ", row_values, " values, not a multiple of ",
                                 type->block_values));
    }
    std::optional<uint64_t> size = Multiply(row_values / type->block_values, type->block_bytes);
    for (size_t d = 0; size && d + 1 < tensor->shape.size(); ++d)
      size = Multiply(*size, static_cast<uint64_t>(tensor->shape[d]));
    if (!size || *size > bytes_.size()) return Broken(absl::StrCat(what, " is larger than the file"));
    tensor->bytes = *size;
    return true;
  }

  // Turns the directory's offsets into offsets from the file's start and checks that every tensor has a place of its
  // own.
  bool PlaceTensors() {
    uint64_t alignment = kDefaultAlignment;
    if (file_.Has("general.alignment")) {
      const absl::StatusOr<int64_t> value = file_.Integer("general.alignment");
      if (!value.ok()) return Broken(std::string(value.status().message()));
      alignment = static_cast<uint64_t>(*value);
      if (*value < 8 || alignment > kMaxAlignment || !std::has_single_bit(alignment)) {
        return Broken(absl::StrCat("general.alignment is ", *value, "; a power of two from 8 to ", kMaxAlignment,
                                   " is possible"));
      }
    }
    const uint64_t data = (position_ + alignment - 1) / alignment * alignment;
    std::vector<const GgufTensorInfo*> by_offset;
    for (GgufTensorInfo& tensor : file_.tensors_) {
      const std::string what = absl::StrCat("tensor ", Quoted(tensor.name));
      if (tensor.offset % alignment != 0) {
        return Broken(absl::StrCat(what, " lies at offset ", tensor.offset, ", not a multiple of ", alignment));
      }
      if (data > bytes_.size() || tensor.offset > bytes_.size() - data ||
          tensor.bytes > bytes_.size() - data - tensor.offset) {
        return Broken(absl::StrCat(what, " (", tensor.bytes, " bytes at offset ", tensor.offset,
                                   ") reaches past the end of the file; is it cut short?"));
      }
      tensor.offset += data;
      by_offset.push_back(&tensor);
    }
    std::sort(by_offset.begin(), by_offset.end(),
              [](const GgufTensorInfo* a, const GgufTensorInfo* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      if (by_offset[i - 1]->offset + by_offset[i - 1]->bytes > by_offset[i]->offset) {
        return Broken(
            absl::StrCat("tensors ", Quoted(by_offset[i - 1]->name), " and ", Quoted(by_offset[i]->name), " overlap"));
      }
    }
    return true;
  }

  GgufFile& file_;
  absl::Span<const std::byte> bytes_;
  uint64_t position_ = 0;
  absl::Status status_;
};

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::filesystem::path& path) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> mapping = MappedFile::Open(path);
  if (!mapping.ok()) return mapping.status();
  std::unique_ptr<GgufFile> file(new GgufFile());
  file->path_ = path;
  file->mapping_ = *std::move(mapping);
  if (absl::Status status = Parser(*file).Parse(); !status.ok()) return status;
  return file;
}

}  // namespace blazon::service
