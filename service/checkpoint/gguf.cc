#include "service/checkpoint/gguf.h"

#include <ATen/ops/from_blob.h>
#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

using language::QuantFormat;

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory, little endian");

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 16;
constexpr uint32_t kMaxDimensions = 4;
// The least that one entry takes: key or name (length and one byte), type and value; dimension count, one dimension, type, offset.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// Metadata types.
enum ValueType : uint32_t {
  kUint8 = 0, kInt8 = 1, kUint16 = 2, kInt16 = 3, kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9,
  kUint64 = 10, kInt64 = 11, kFloat64 = 12,
};

// Bytes of one value; 0 for strings, arrays and unknown types.
uint64_t ValueBytes(uint32_t type) {
  switch (type) {
    case kUint8: case kInt8: case kBool: return 1;
    case kUint16: case kInt16: return 2;
    case kUint32: case kInt32: case kFloat32: return 4;
    case kUint64: case kInt64: case kFloat64: return 8;
    default: return 0;
  }
}

const char* ValueTypeName(uint32_t type) {
  constexpr const char* kNames[] = {"uint8",   "int8", "uint16", "int16", "uint32", "int32",  "float32",
                                         "boolean", "string", "array", "uint64", "int64", "float64"};
  return type < std::size(kNames) ? kNames[type] : "unknown type";
}

// ggml's tensor types: values in a block, bytes of a block.
struct TensorType {
  uint32_t number;
  const char* name;
  uint64_t block_values, block_bytes;
};
constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kBF16 = 30;
constexpr TensorType kTensorTypes[] = {
    {kF32, "F32", 1, 4},       {kF16, "F16", 1, 2},      {kQ4_0, "Q4_0", 32, 18},   {kQ4_1, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},       {7, "Q5_1", 32, 24},      {kQ8_0, "Q8_0", 32, 34},   {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},     {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},    {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},    {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},  {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},  {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},    {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},          {25, "I16", 1, 2},
    {26, "I32", 1, 4},         {27, "I64", 1, 8},        {28, "F64", 1, 8},         {29, "IQ1_M", 256, 56},
    {kBF16, "BF16", 1, 2},     {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},    {39, "MXFP4", 32, 17},
};

const TensorType* FindTensorType(uint32_t number) {
  const auto* const found = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                                         [number](const TensorType& type) { return type.number == number; });
  return found == std::end(kTensorTypes) ? nullptr : found;
}

// Text of the file, fit for a message.
std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape({text.data(), std::min(text.size(), kShown)}), text.size() > kShown ? "...\"" : "\"");
}

// a * b, or nullopt when it does not fit.
std::optional<uint64_t> Multiply(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

template <typename T>
T LoadAs(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// The value of type `type` at `bytes` as an integer; nullopt when it is not an integer or does not fit.
std::optional<int64_t> LoadInteger(uint32_t type, const std::byte* bytes) {
  switch (type) {
    case kUint8: return LoadAs<uint8_t>(bytes);
    case kInt8: return LoadAs<int8_t>(bytes);
    case kUint16: return LoadAs<uint16_t>(bytes);
    case kInt16: return LoadAs<int16_t>(bytes);
    case kUint32: return LoadAs<uint32_t>(bytes);
    case kInt32: return LoadAs<int32_t>(bytes);
    case kInt64: return LoadAs<int64_t>(bytes);
    case kUint64: {
      const uint64_t value = LoadAs<uint64_t>(bytes);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default: return std::nullopt;
  }
}

std::optional<double> LoadNumber(uint32_t type, const std::byte* bytes) {
  if (type == kFloat32) return LoadAs<float>(bytes);
  if (type == kFloat64) return LoadAs<double>(bytes);
  if (type == kUint64) return static_cast<double>(LoadAs<uint64_t>(bytes));
  if (const std::optional<int64_t> integer = LoadInteger(type, bytes)) return static_cast<double>(*integer);
  return std::nullopt;
}

absl::Status WrongType(std::string_view key, uint32_t type, const char* wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("metadata ", Quoted(key), " is of type ", ValueTypeName(type), ", or out of range; wanted: ", wanted));
}

}  // namespace

std::string GgufTypeName(uint32_t type) {
  const TensorType* const known = FindTensorType(type);
  return known != nullptr ? known->name : absl::StrCat("type ", type);
}

// Walks the file once, front to back. After a failure status() says what and where.
class GgufFile::Parser {
 public:
  explicit Parser(GgufFile& file) : file_(file), bytes_(file.mapping_->bytes()) {}

  absl::Status Parse() {
    uint64_t tensor_count = 0, metadata_count = 0;
    if (ReadHeader(&tensor_count, &metadata_count) && ReadMetadata(metadata_count) && ReadDirectory(tensor_count)) PlaceTensors();
    return status_;
  }

 private:
  uint64_t left() const { return bytes_.size() - position_; }

  bool Fail(absl::StatusCode code, const std::string& what) {
    status_ = absl::Status(code, absl::StrCat(file_.path_.string(), ": ", what, " (byte ", position_, " of ", bytes_.size(), ")"));
    return false;
  }
  bool Broken(const std::string& what) { return Fail(absl::StatusCode::kDataLoss, absl::StrCat("broken GGUF: ", what)); }

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
      return Broken(absl::StrCat("the header claims ", *metadata_count, " metadata entries, more than the file has room for"));
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
      if (!file_.metadata_.emplace(key, value).second) return Broken(absl::StrCat("metadata ", Quoted(key), " is there twice"));
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
      return Fail(absl::StatusCode::kUnimplemented, absl::StrCat(what, " is an array of arrays, which Blazon does not read"));
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
      if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second) return Broken(absl::StrCat(what, " is there twice"));
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
      return Broken(absl::StrCat(what, " is ", type->name, " with rows of ", row_values, " values, not a multiple of ", type->block_values));
    }
    std::optional<uint64_t> size = Multiply(row_values / type->block_values, type->block_bytes);
    for (size_t d = 0; size && d + 1 < tensor->shape.size(); ++d) size = Multiply(*size, static_cast<uint64_t>(tensor->shape[d]));
    if (!size || *size > bytes_.size()) return Broken(absl::StrCat(what, " is larger than the file"));
    tensor->bytes = *size;
    return true;
  }

  // Turns the directory's offsets into offsets from the file's start and checks that every tensor has a place of its own.
  bool PlaceTensors() {
    uint64_t alignment = kDefaultAlignment;
    if (file_.Has("general.alignment")) {
      const absl::StatusOr<int64_t> value = file_.Integer("general.alignment");
      if (!value.ok()) return Broken(std::string(value.status().message()));
      alignment = static_cast<uint64_t>(*value);
      if (*value < 8 || alignment > kMaxAlignment || !std::has_single_bit(alignment)) {
        return Broken(absl::StrCat("general.alignment is ", *value, "; a power of two from 8 to ", kMaxAlignment, " is possible"));
      }
    }
    const uint64_t data = (position_ + alignment - 1) / alignment * alignment;
    std::vector<const GgufTensorInfo*> by_offset;
    for (GgufTensorInfo& tensor : file_.tensors_) {
      const std::string what = absl::StrCat("tensor ", Quoted(tensor.name));
      if (tensor.offset % alignment != 0) {
        return Broken(absl::StrCat(what, " lies at offset ", tensor.offset, ", not a multiple of ", alignment));
      }
      if (data > bytes_.size() || tensor.offset > bytes_.size() - data || tensor.bytes > bytes_.size() - data - tensor.offset) {
        return Broken(absl::StrCat(what, " (", tensor.bytes, " bytes at offset ", tensor.offset, ") reaches past the end of the file; is it cut short?"));
      }
      tensor.offset += data;
      by_offset.push_back(&tensor);
    }
    std::sort(by_offset.begin(), by_offset.end(),
              [](const GgufTensorInfo* a, const GgufTensorInfo* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      if (by_offset[i - 1]->offset + by_offset[i - 1]->bytes > by_offset[i]->offset) {
        return Broken(absl::StrCat("tensors ", Quoted(by_offset[i - 1]->name), " and ", Quoted(by_offset[i]->name), " overlap"));
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

absl::StatusOr<const GgufFile::Value*> GgufFile::Find(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return absl::NotFoundError(absl::StrCat(path_.string(), " has no metadata ", Quoted(key)));
  return &found->second;
}

namespace {

// What kind of value a variant of GgufFile holds, for messages: integers are all widened to 64 bits.
constexpr uint32_t kHeldTypes[] = {kInt64, kUint64, kFloat64, kBool, kString, kArray};

}  // namespace

absl::StatusOr<int64_t> GgufFile::Integer(std::string_view key) const {
  const absl::StatusOr<const Value*> value = Find(key);
  if (!value.ok()) return value.status();
  if (const int64_t* integer = std::get_if<int64_t>(*value)) return *integer;
  if (const uint64_t* integer = std::get_if<uint64_t>(*value); integer != nullptr && *integer >> 63 == 0) return static_cast<int64_t>(*integer);
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

absl::StatusOr<language::Weight> GgufFile::Tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  if (found == tensor_index_.end()) return absl::NotFoundError(absl::StrCat(path_.string(), " has no tensor ", Quoted(name)));
  const GgufTensorInfo& tensor = tensors_[found->second];

  const auto view = [&](at::IntArrayRef shape, at::ScalarType type) {
    void* const data = const_cast<std::byte*>(mapping_->bytes().data() + tensor.offset);
    return at::from_blob(data, shape, [mapping = mapping_](void*) {}, at::TensorOptions().dtype(type));
  };
  const auto blocks = [&](QuantFormat format) -> absl::StatusOr<language::Weight> {
    if (tensor.shape.size() > 2) {
      return absl::UnimplementedError(absl::StrCat(path_.string(), ": tensor ", Quoted(name), " is ", GgufTypeName(tensor.type), " in ",
                                                   tensor.shape.size(), " dimensions; Blazon reads quantised blocks in at most 2"));
    }
    language::QuantizedTensor quantized;
    quantized.format = format;
    quantized.rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    quantized.columns = tensor.shape.back();
    quantized.blocks = view({quantized.rows, static_cast<int64_t>(tensor.bytes) / quantized.rows}, at::kByte);
    return quantized;
  };
  switch (tensor.type) {
    case kF32: return view(tensor.shape, at::kFloat);
    case kF16: return view(tensor.shape, at::kHalf);
    case kBF16: return view(tensor.shape, at::kBFloat16);
    case kQ4_0: return blocks(QuantFormat::kQ4_0);
    case kQ4_1: return blocks(QuantFormat::kQ4_1);
    case kQ8_0: return blocks(QuantFormat::kQ8_0);
    default:
      return absl::UnimplementedError(absl::StrCat(path_.string(), ": tensor ", Quoted(name), " is of type ", GgufTypeName(tensor.type),
                                                   "; Blazon reads F32, F16, BF16, Q4_0, Q4_1 and Q8_0"));
  }
}

const std::string& GgufFile::Digest() const {
  std::call_once(digest_once_, [this] {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    EVP_Digest(mapping_->bytes().data(), mapping_->bytes().size(), digest, &length, EVP_sha256(), nullptr);
    digest_ = absl::BytesToHexString({reinterpret_cast<const char*>(digest), length});
  });
  return digest_;
}

}  // namespace blazon::service
