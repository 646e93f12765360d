#include "service/checkpoint/json_file.h"

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/mapped_file.h"

namespace blazon::service {
namespace {

constexpr int kMaxDepth = 100;  // real ones have fewer than 10

}  // namespace

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::filesystem::path& path) {
  const absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  const auto* text = reinterpret_cast<const char*>((*file)->bytes().data());
  bool too_deep = false;
  const auto keep = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  nlohmann::json value = nlohmann::json::parse(text, text + (*file)->bytes().size(), keep, /*allow_exceptions=*/false);
  if (too_deep) {
    return absl::DataLossError(absl::StrCat(path.string(), " is nested more than ", kMaxDepth, " deep"));
  }
  if (!value.is_object()) return absl::DataLossError(absl::StrCat(path.string(), " is not a JSON object"));
  return value;
}

}  // namespace blazon::service
