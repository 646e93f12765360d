// Reads GGUF model files (versions 2 and 3, little endian): metadata and tensors, mapped into memory, nothing copied at
// opening.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
// Every count, length, offset and size is checked against the file before it is used, and no allocation is larger than
// a small multiple of the file: a broken or hostile file gives an error, never a crash.
// Thread safety: const after Open; every method may be called from any thread.
// Lifetime: tensors that were handed out share the mapping and may outlive the GgufFile; text views may not.
// The file must not be shortened while it is mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/state_dict.h"
#include "service/checkpoint/mapped_file.h"

namespace blazon::service {

// A tensor as the file's directory describes it.
struct GgufTensorInfo {
  std::string_view name;
  uint32_t type = 0;           // ggml's number; GgufTypeName gives its name
  std::vector<int64_t> shape;  // outermost dimension first (the file stores it reversed); 1 to 4 dimensions
  uint64_t offset = 0;         // from the start of the file
  uint64_t bytes = 0;
};

// "Q4_1"; "type 77" for a number that ggml does not know.
std::string GgufTypeName(uint32_t type);

// Whether tensors of this type are computed with as they are, instead of being turned to fp32 when they are read.
bool StaysQuantised(uint32_t type);

class GgufFile {
 public:
  // kNotFound: no such file. kDataLoss: the file breaks the format; the message says where and how.
  // kUnimplemented: a GGUF of another version or byte order, or with a tensor type whose size is not known.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::filesystem::path& path);

  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint32_t version() const { return version_; }
  uint64_t bytes() const { return mapping_->bytes().size(); }  // of the whole file

  // Metadata. kNotFound: no such key. kInvalidArgument: it has another type or does not fit; the message names the key
  // and its type.
  bool Has(std::string_view key) const { return metadata_.contains(key); }
  absl::StatusOr<int64_t> Integer(std::string_view key) const;  // any integer type
  absl::StatusOr<double> Number(std::string_view key) const;    // any float or integer type
  absl::StatusOr<bool> Bool(std::string_view key) const;
  absl::StatusOr<std::string_view> String(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> Strings(std::string_view key) const;  // an array of strings
  absl::StatusOr<std::vector<int64_t>> Integers(std::string_view key) const;          // an array of any integer type
  absl::StatusOr<std::vector<double>> Numbers(std::string_view key) const;  // an array of any float or integer type
  std::vector<std::string_view> keys() const;                               // in alphabetical order

  // The directory, in the file's order.
  absl::Span<const GgufTensorInfo> tensors() const { return tensors_; }
  bool HasTensor(std::string_view name) const { return tensor_index_.contains(name); }
  const GgufTensorInfo* FindTensor(std::string_view name) const;  // null: there is none

  // One tensor. F32, F16 and BF16 dense, and Q4_0, Q4_1 and Q8_0 as blocks, are views of the mapped file: read-only,
  // never write to them. Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are copies in fp32.
  // kNotFound: no such tensor. kUnimplemented: another type, or blocks in more than two dimensions; the message names
  // tensor and type.
  absl::StatusOr<language::Weight> Tensor(std::string_view name) const;

 private:
  class Parser;
  // An array of metadata whose elements were checked at opening and are decoded when asked for.
  struct Array {
    uint32_t element_type = 0;
    uint64_t count = 0;
    absl::Span<const std::byte> bytes;
  };
  using Value = std::variant<int64_t, uint64_t, double, bool, std::string_view, Array>;

  GgufFile() = default;
  absl::StatusOr<const Value*> Find(std::string_view key) const;
  absl::StatusOr<const Array*> FindArray(std::string_view key) const;

  std::filesystem::path path_;
  uint32_t version_ = 0;
  std::shared_ptr<const MappedFile> mapping_;
  std::map<std::string_view, Value> metadata_;
  std::vector<GgufTensorInfo> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

}  // namespace blazon::service
