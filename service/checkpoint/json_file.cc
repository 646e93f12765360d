#include "service/checkpoint/json_file.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/mapped_file.h"

namespace blazon::service {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 100;

// Looked at before parsing: the depth of the parsed value costs memory for every level.
bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

absl::StatusOr<json> ReadValue(const std::filesystem::path& path, json::value_t type, const char* type_name) {
  const absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  const auto* text = reinterpret_cast<const char*>((*file)->bytes().data());
  absl::StatusOr<json> value = ParseJson({text, (*file)->bytes().size()});
  if (!value.ok()) return absl::DataLossError(absl::StrCat(path.string(), " is ", value.status().message()));
  if (value->type() != type) return absl::DataLossError(absl::StrCat(path.string(), " is not a JSON ", type_name));
  return value;
}

}  // namespace

absl::StatusOr<json> ParseJson(std::string_view text) {
  if (NestsTooDeep(text)) {
    return absl::DataLossError(absl::StrCat("nested more than ", kMaxDepth, " deep"));
  }
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::DataLossError("not JSON");
  return value;
}

absl::StatusOr<json> ReadJsonFile(const std::filesystem::path& path) {
  return ReadValue(path, json::value_t::object, "object");
}

absl::StatusOr<json> ReadJsonArrayFile(const std::filesystem::path& path) {
  return ReadValue(path, json::value_t::array, "array");
}

}  // namespace blazon::service
