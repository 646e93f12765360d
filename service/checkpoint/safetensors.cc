#include "service/checkpoint/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/durable_file.h"
#include "service/checkpoint/mapped_file.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors are read as they lie in memory, little endian");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr uint64_t kAlignment = 8;                 // of the data's begin in files that we write
constexpr int kMaxHeaderDepth = 3;                 // header object, tensor object, array
const char* const kMetadataKey = "__metadata__";

struct StoredDtype {
  const char* name;
  at::ScalarType type;
  uint64_t bytes;
};
constexpr StoredDtype kDtypes[] = {
    {"F64", at::kDouble, 8}, {"I64", at::kLong, 8},      {"F32", at::kFloat, 4}, {"I32", at::kInt, 4},
    {"F16", at::kHalf, 2},   {"BF16", at::kBFloat16, 2}, {"I16", at::kShort, 2}, {"I8", at::kChar, 1},
    {"U8", at::kByte, 1},    {"BOOL", at::kBool, 1},
};

// What torch.save writes (a zip archive, or an older pickle), by its magic or by the names such files go under.
bool LooksLikePickle(const std::filesystem::path& path, absl::Span<const std::byte> bytes) {
  // Where a safetensors header begins.
  if (bytes.size() > sizeof(uint64_t) && bytes[sizeof(uint64_t)] == std::byte{'{'}) return false;
  const auto begins = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  constexpr std::string_view kExtensions[] = {".pt", ".pth", ".bin", ".ckpt", ".pkl"};
  const std::string extension = path.extension().string();
  return begins("PK\x03\x04") || begins("\x80\x02") ||
         std::find(std::begin(kExtensions), std::end(kExtensions), extension) != std::end(kExtensions);
}

// One entry of the header.
struct Entry {
  std::string name;
  const StoredDtype* dtype = nullptr;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the data
};

class SafetensorsReader {
 public:
  SafetensorsReader(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file)
      : path_(path), file_(std::move(file)) {}

  absl::StatusOr<TensorMap> Read(std::map<std::string, std::string>* metadata) {
    json header;
    if (absl::Status status = ParseHeader(&header); !status.ok()) return status;
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      absl::Status status;
      if (name == kMetadataKey) {
        status = ReadMetadata(value, metadata);
      } else {
        entries.emplace_back().name = name;
        status = ReadEntry(value, &entries.back());
      }
      if (!status.ok()) return status;
    }
    if (absl::Status status = CheckCoverage(&entries); !status.ok()) return status;
    TensorMap tensors;
    for (const Entry& entry : entries) {
      if (absl::Status status = CheckValues(entry); !status.ok()) return status;
      tensors.emplace(entry.name, View(entry));
    }
    return tensors;
  }

 private:
  absl::Status Broken(const std::string& what) const {
    return absl::DataLossError(absl::StrCat(path_.string(), ": broken safetensors file: ", what));
  }

  absl::Status ParseHeader(json* header) {
    const absl::Span<const std::byte> bytes = file_->bytes();
    uint64_t length = 0;
    if (bytes.size() < sizeof(length)) return Broken(absl::StrCat("it has only ", bytes.size(), " bytes"));
    std::memcpy(&length, bytes.data(), sizeof(length));
    if (length > kMaxHeaderBytes)
      return Broken(absl::StrCat("a header of ", length, " bytes; at most ", kMaxHeaderBytes, " are possible"));
    if (length > bytes.size() - sizeof(length))
      return Broken(absl::StrCat("a header of ", length, " bytes in a file of ", bytes.size(), "; is it cut short?"));
    const char* const text = reinterpret_cast<const char*>(bytes.data()) + sizeof(length);
    if (length == 0 || text[0] != '{') return Broken("its header does not begin with '{'");

    // The parser keeps the last of two equal keys; the callback sees both.
    std::vector<std::set<std::string>> keys;
    std::string fault;
    const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
      if (!fault.empty()) return false;
      if (depth > kMaxHeaderDepth) fault = "its header is nested too deeply";
      if (event == json::parse_event_t::object_start) keys.emplace_back();
      if (event == json::parse_event_t::object_end) keys.pop_back();
      if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
        fault = absl::StrCat("the key ", Quoted(parsed.get<std::string>()), " is there twice");
      }
      return fault.empty();
    };
    *header = json::parse(text, text + length, watch, /*allow_exceptions=*/false);
    if (!fault.empty()) return Broken(fault);
    if (!header->is_object()) return Broken("its header is not a JSON object");
    data_ = bytes.subspan(sizeof(length) + length);
    return absl::OkStatus();
  }

  absl::Status ReadMetadata(const json& value, std::map<std::string, std::string>* metadata) const {
    if (!value.is_object()) return Broken(absl::StrCat(kMetadataKey, " is not an object"));
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) return Broken(absl::StrCat(kMetadataKey, " ", Quoted(key), " is not a string"));
      if (metadata != nullptr) (*metadata)[key] = text.get<std::string>();
    }
    return absl::OkStatus();
  }

  absl::Status ReadEntry(const json& value, Entry* entry) const {
    const std::string what = absl::StrCat("tensor ", Quoted(entry->name));
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      return Broken(absl::StrCat(what, " is not described by exactly dtype, shape and data_offsets"));
    }
    const json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    if (!dtype.is_string()) return Broken(absl::StrCat("the dtype of ", what, " is not a string"));
    const auto* const known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                           [&](const StoredDtype& type) { return dtype == type.name; });
    if (known == std::end(kDtypes)) {
      return absl::UnimplementedError(
          absl::StrCat(path_.string(), ": ", what, " is of dtype ", Quoted(dtype.get<std::string>()),
                       "; Blazon reads F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL"));
    }
    entry->dtype = known;

    // extent: zero dimensions counted as 1, so that strides fit too.
    uint64_t size = known->bytes, extent = known->bytes;
    if (!shape.is_array()) return Broken(absl::StrCat("the shape of ", what, " is not an array"));
    for (const json& dimension : shape) {
      if (!dimension.is_number_unsigned())
        return Broken(absl::StrCat("the shape of ", what, " holds something else than whole numbers"));
      const uint64_t count = dimension.get<uint64_t>();
      if (__builtin_mul_overflow(extent, std::max<uint64_t>(count, 1), &extent) || extent >> 62 != 0)
        return Broken(absl::StrCat(what, " is impossibly large"));
      size *= count;
      entry->shape.push_back(static_cast<int64_t>(count));
    }
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      return Broken(absl::StrCat("data_offsets of ", what, " are not two whole numbers"));
    }
    entry->begin = offsets[0].get<uint64_t>();
    entry->end = offsets[1].get<uint64_t>();
    if (entry->begin > entry->end || entry->end > data_.size()) {
      return Broken(absl::StrCat(what, " lies at ", entry->begin, " to ", entry->end, " of ", data_.size(),
                                 " data bytes; is the file cut short?"));
    }
    if (entry->end - entry->begin != size) {
      return Broken(
          absl::StrCat(what, " has ", entry->end - entry->begin, " bytes; its shape and dtype ask for ", size));
    }
    return absl::OkStatus();
  }

  // The tensors must lie side by side and fill the data.
  absl::Status CheckCoverage(std::vector<Entry>* entries) const {
    std::sort(entries->begin(), entries->end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t position = 0;
    for (const Entry& entry : *entries) {
      if (entry.begin != position) {
        return Broken(absl::StrCat("tensor ", Quoted(entry.name), " begins at ", entry.begin,
                                   entry.begin < position ? ", inside another one" : ", after a hole", "; expected ",
                                   position));
      }
      position = entry.end;
    }
    if (position != data_.size())
      return Broken(absl::StrCat(data_.size() - position, " bytes after the last tensor belong to none"));
    return absl::OkStatus();
  }

  absl::Status CheckValues(const Entry& entry) const {
    if (entry.dtype->type != at::kBool) return absl::OkStatus();
    const absl::Span<const std::byte> bytes = data_.subspan(entry.begin, entry.end - entry.begin);
    if (std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte <= std::byte{1}; }))
      return absl::OkStatus();
    return Broken(
        absl::StrCat("tensor ", Quoted(entry.name), " is of dtype BOOL and holds something else than 0 and 1"));
  }

  at::Tensor View(const Entry& entry) const {
    const std::byte* const data = data_.data() + entry.begin;
    const auto options = at::TensorOptions().dtype(entry.dtype->type);
    if (reinterpret_cast<uintptr_t>(data) % entry.dtype->bytes == 0) {
      return at::from_blob(
          const_cast<std::byte*>(data), entry.shape,
          [file = file_, part = data_.subspan(entry.begin, entry.end - entry.begin)](void*) { file->Release(part); },
          options);
    }
    at::Tensor copy = at::empty(entry.shape, options);  // a header of odd length leaves the data unaligned
    std::memcpy(copy.mutable_data_ptr(), data, entry.end - entry.begin);
    file_->Release(data_.subspan(entry.begin, entry.end - entry.begin));
    return copy;
  }

  const std::filesystem::path& path_;
  std::shared_ptr<const MappedFile> file_;
  absl::Span<const std::byte> data_;
};

// One tensor to be written.
struct Item {
  const std::string* name;
  const at::Tensor* tensor;
  const StoredDtype* dtype;
};

// Widest dtype first, so that every tensor is aligned; then by name.
absl::StatusOr<std::vector<Item>> Order(const TensorMap& tensors) {
  std::vector<Item> items;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadataKey)
      return absl::InvalidArgumentError(absl::StrCat("a tensor cannot be named ", kMetadataKey));
    if (!tensor.defined()) return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), " is undefined"));
    const auto* const known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                           [&](const StoredDtype& type) { return type.type == tensor.scalar_type(); });
    if (known == std::end(kDtypes)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", Quoted(name), " is of a dtype that is not written: ", c10::toString(tensor.scalar_type())));
    }
    items.push_back({&name, &tensor, known});
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) { return a.dtype->bytes > b.dtype->bytes; });
  return items;
}

absl::StatusOr<std::string> MakeHeader(const std::vector<Item>& items,
                                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t position = 0;
  for (const Item& item : items) {
    const uint64_t end = position + static_cast<uint64_t>(item.tensor->numel()) * item.dtype->bytes;
    header[*item.name] = {
        {"dtype", item.dtype->name}, {"shape", item.tensor->sizes().vec()}, {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("a tensor's name or the metadata is not valid UTF-8");
  }
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  if (text.size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header has ", text.size(), " bytes; at most ", kMaxHeaderBytes, " are possible"));
  }
  return text;
}

absl::Status Fill(FileAppender& file, const std::string& header, const std::vector<Item>& items) {
  const uint64_t length = header.size();
  absl::Status status = file.Append(&length, sizeof(length));
  status.Update(file.Append(header.data(), header.size()));
  for (const Item& item : items) {
    if (!status.ok()) return status;
    try {
      const at::Tensor dense = item.tensor->detach().to(at::kCPU).contiguous();
      status = file.Append(dense.const_data_ptr(), dense.nbytes());
    } catch (const c10::Error& error) {
      return absl::InternalError(absl::StrCat("tensor ", Quoted(*item.name), " cannot be copied to main memory"));
    }
  }
  return status;
}

}  // namespace

absl::StatusOr<TensorMap> ReadSafetensors(const std::filesystem::path& path,
                                          std::map<std::string, std::string>* metadata) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  if (LooksLikePickle(path, (*file)->bytes())) {
    return absl::InvalidArgumentError(absl::StrCat(
        path.string(),
        " is a pickle (torch.save), and loading one runs code of whoever made it. Models must be "
        ".safetensors or .gguf files: get the model's, or convert this one without running its code: make convert IN=",
        path.string(), " OUT=FOLDER (EfficientNet-Lite0's: setup/convert_efficientnet.py)"));
  }
  return SafetensorsReader(path, *std::move(file)).Read(metadata);
}

absl::Status WriteSafetensors(const std::filesystem::path& path, const TensorMap& tensors,
                              const std::map<std::string, std::string>& metadata) {
  absl::StatusOr<std::vector<Item>> items = Order(tensors);
  if (!items.ok()) return items.status();
  absl::StatusOr<std::string> header = MakeHeader(*items, metadata);
  if (!header.ok()) return header.status();
  return WriteDurably(path, [&](FileAppender& file) { return Fill(file, *header, *items); });
}

}  // namespace blazon::service
